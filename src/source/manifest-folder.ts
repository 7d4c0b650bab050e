// SPDX-License-Identifier: Apache-2.0
// The manifest files of a folder as they were last read whole: which changed, which are broken, what all of them hold.

import type { BigIntStats } from "node:fs";
import { lstat, readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Problem } from "../model/types.ts";
import { reasonOf } from "./config-error.ts";
import { type ManifestEntry, ManifestError, type ManifestFile, parseManifestFile } from "./manifest-file.ts";
import { Slicer } from "./slicer.ts";

/** What one look at a file found. `held` is what it held when it last parsed; null if it never has. */
interface FileState {
  readonly signature: string;
  readonly held: ManifestFile | null;
  readonly broken: Problem | null;
}

const MAX_FILE_BYTES = 256n * 1024n * 1024n;

export class ManifestFolder {
  readonly #path: string;
  readonly #settleMs: number;
  readonly #serviceProxyName: string | null;
  /** By path, in the order of paths. */
  #files = new Map<string, FileState>();

  constructor(path: string, settleMs: number, serviceProxyName: string | null = null) {
    this.#path = path;
    this.#settleMs = settleMs;
    this.#serviceProxyName = serviceProxyName;
  }

  get size(): number {
    return this.#files.size;
  }

  /** No file is there that has never parsed. */
  get complete(): boolean {
    return [...this.#files.values()].every((file) => file.held !== null);
  }

  get ignored(): number {
    let sum = 0;
    for (const { held } of this.#files.values()) sum += held?.ignored ?? 0;
    return sum;
  }

  broken(): readonly Problem[] {
    return [...this.#files.values()].flatMap(({ broken }) => broken ?? []);
  }

  *entries(): Generator<{ file: string; entry: ManifestEntry }> {
    for (const [file, { held }] of this.#files) for (const entry of held?.entries ?? []) yield { file, entry };
  }

  /**
   * Reads what changed since the last call. `unsettled`: some file was being written and wants another look.
   * Throws if the folder itself cannot be read, or the reason of `stop`; nothing is forgotten then.
   */
  async read(stop: AbortSignal): Promise<{ changed: boolean; unsettled: boolean }> {
    const files = new Map<string, FileState>();
    const slicer = new Slicer();
    let unsettled = false;
    let changed = false;
    const folder = await this.#identity();
    for (const path of await this.#list()) {
      const before = this.#files.get(path) ?? null;
      const now = await this.#look(path, before, stop);
      stop.throwIfAborted();
      if (now === "gone") continue;
      if (now === "unsettled") unsettled = true;
      else if (now !== before) changed = true;
      const state = now === "unsettled" ? before : now;
      if (state !== null) files.set(path, state);
      if (slicer.due) await slicer.next();
    }
    if ([...this.#files.keys()].some((path) => !files.has(path))) {
      // Files go with a folder that is moved away under our eyes: then it is the folder that is missing, not they.
      if ((await this.#identity()) !== folder) return { changed: false, unsettled: true };
      changed = true;
    }
    this.#files = files;
    return { changed, unsettled };
  }

  /** Which directory the path leads to now. */
  async #identity(): Promise<string> {
    const { dev, ino } = await stat(this.#path, { bigint: true });
    return `${dev}:${ino}`;
  }

  async #list(): Promise<string[]> {
    const names = await readdir(this.#path);
    const manifests = names.filter((name) => !name.startsWith(".") && /\.(ya?ml|json)$/.test(name));
    return manifests.sort().map((name) => join(this.#path, name));
  }

  async #look(path: string, before: FileState | null, stop: AbortSignal): Promise<FileState | "gone" | "unsettled"> {
    let signature = before?.signature ?? "";
    try {
      const stats = await stat(path, { bigint: true });
      if (!stats.isFile()) return "gone";
      signature = signatureOf(stats);
      if (before?.signature === signature) return before;
      if (isFresh(stats, this.#settleMs)) return "unsettled";
      if (stats.size > MAX_FILE_BYTES) throw new ManifestError(0, "is larger than 256 MiB");
      const text = await readFile(path, "utf8");
      if (signatureOf(await stat(path, { bigint: true })) !== signature) return "unsettled";
      const options = { stop, serviceProxyName: this.#serviceProxyName };
      return { signature, held: await parseManifestFile(path, text.replace(/^\ufeff/, ""), options), broken: null };
    } catch (error) {
      return (await isGone(path, error)) ? "gone" : broken(path, signature, before, error);
    }
  }
}

/** Removed between the listing and the look; a link that is there and points nowhere is not gone. */
async function isGone(path: string, error: unknown): Promise<boolean> {
  if ((error as NodeJS.ErrnoException).code !== "ENOENT") return false;
  return await lstat(path).then(
    () => false,
    () => true,
  );
}

/** A link that points nowhere and a file without permission are broken as one with a syntax error is. */
function broken(path: string, signature: string, before: FileState | null, error: unknown): FileState {
  const line = error instanceof ManifestError ? error.line : 0;
  const problem: Problem = { kind: "File", key: path, field: line > 0 ? `line ${line}` : "", reason: reasonOf(error) };
  const code = (error as NodeJS.ErrnoException).code;
  if (code !== undefined && before?.broken?.reason === problem.reason) return before;
  // Unreadable now says nothing of its content: the next look must not take it for unchanged.
  return { signature: code === undefined ? signature : "", held: before?.held ?? null, broken: problem };
}

/** Another file under the same name, and another content of the same file, differ in this. */
function signatureOf(stats: BigIntStats): string {
  return `${stats.dev}:${stats.ino}:${stats.size}:${stats.mtimeNs}:${stats.ctimeNs}`;
}

/** Written to this instant, so perhaps not whole yet. A time in the future counts for nothing. */
function isFresh(stats: BigIntStats, settleMs: number): boolean {
  const ageMs = Date.now() - Number(stats.mtimeNs / 1_000_000n);
  return ageMs >= 0 && ageMs < settleMs;
}
