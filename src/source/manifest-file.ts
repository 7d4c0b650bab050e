// SPDX-License-Identifier: Apache-2.0
// One manifest file's text → the objects in it that are a proxy's business, or the line that broke it.

import type { EndpointSlice, Node, Service } from "../model/types.ts";
import { reasonOf } from "./config-error.ts";
import { type Decoded, decodeEndpointSlice, decodeNode, decodeService, decodeServiceCidr } from "./decode/decode.ts";
import { describe, isObject, type JsonObject, member } from "./decode/field.ts";
import { Slicer } from "./slicer.ts";

interface ManifestKinds {
  readonly Service: Service;
  readonly EndpointSlice: EndpointSlice;
  readonly Node: Node;
  readonly ServiceCIDR: readonly string[];
}

interface EntryOf<K extends keyof ManifestKinds> {
  readonly kind: K;
  readonly key: string;
  readonly line: number;
  readonly decoded: Decoded<ManifestKinds[K]>;
}

export type ManifestEntry = { [K in keyof ManifestKinds]: EntryOf<K> }[keyof ManifestKinds];

export interface ManifestOptions {
  /** As decodeService has it. */
  readonly serviceProxyName?: string | null;
  readonly stop?: AbortSignal;
}

export interface ManifestFile {
  readonly entries: readonly ManifestEntry[];
  /** Objects of kinds that are none of a proxy's business. */
  readonly ignored: number;
}

/** The file cannot be used as it is. */
export class ManifestError extends Error {
  override readonly name = "ManifestError";
  /** 0: not to be said. */
  readonly line: number;

  constructor(line: number, reason: string) {
    super(reason);
    this.line = line;
  }
}

/** Aliases that YAML may expand to in one document: enough for people, too few for a bomb. */
const MAX_ALIASES = 100;
const MAX_LIST_DEPTH = 4;
const LISTS: ReadonlySet<string> = new Set(["List", "ServiceList", "EndpointSliceList", "NodeList", "ServiceCIDRList"]);

/** Throws ManifestError, or the reason of `stop`. A file is good as a whole or not at all, so that half of one is never taken for its wish. */
export async function parseManifestFile(name: string, text: string, options: ManifestOptions): Promise<ManifestFile> {
  const reader = new ManifestReader(options.serviceProxyName ?? null);
  if (name.endsWith(".json")) reader.add(parseJson(text), 1, 0);
  else {
    for await (const document of parseYaml(text)) {
      options.stop?.throwIfAborted();
      reader.add(document.value, document.line, 0);
    }
  }
  return reader;
}

class ManifestReader implements ManifestFile {
  readonly entries: ManifestEntry[] = [];
  ignored = 0;
  readonly #serviceProxyName: string | null;

  constructor(serviceProxyName: string | null) {
    this.#serviceProxyName = serviceProxyName;
  }

  add(value: unknown, line: number, depth: number, listOf: { apiVersion: unknown; kind: string } | null = null): void {
    if (value === null || value === undefined) return;
    if (!isObject(value)) throw new ManifestError(line, `must be a Kubernetes object, not ${describe(value)}`);
    const apiVersion = member(value, "apiVersion") ?? listOf?.apiVersion;
    const kind = member(value, "kind") ?? listOf?.kind;
    if (typeof apiVersion !== "string" || typeof kind !== "string") {
      throw new ManifestError(line, `${typeof kind !== "string" ? "kind" : "apiVersion"} is missing`);
    }
    if (LISTS.has(kind)) {
      this.#addItems(value, line, depth, { apiVersion, kind: kind.slice(0, -"List".length) });
      return;
    }
    const entry = this.#entry(`${apiVersion} ${kind}`, value, line);
    if (entry === null) this.ignored++;
    else this.entries.push(entry);
  }

  #entry(kind: string, value: JsonObject, line: number): ManifestEntry | null {
    const named = <T>(decoded: Decoded<T>) => ({ key: keyOf(decoded, line), line, decoded });
    switch (kind) {
      case "v1 Service":
        return { kind: "Service", ...named(decodeService(value, this.#serviceProxyName)) };
      case "discovery.k8s.io/v1 EndpointSlice":
        return { kind: "EndpointSlice", ...named(decodeEndpointSlice(value)) };
      case "v1 Node":
        return { kind: "Node", ...named(decodeNode(value)) };
      case "networking.k8s.io/v1 ServiceCIDR":
        return { kind: "ServiceCIDR", ...named(decodeServiceCidr(value)) };
      default:
        return null;
    }
  }

  /** Items of a typed list carry neither apiVersion nor kind of their own. */
  #addItems(list: JsonObject, line: number, depth: number, of: { apiVersion: string; kind: string }): void {
    const items = member(list, "items") ?? [];
    if (!Array.isArray(items)) throw new ManifestError(line, `items must be a list, not ${describe(items)}`);
    if (depth === MAX_LIST_DEPTH) throw new ManifestError(line, "lists within lists within lists");
    for (const item of items) this.add(item, line, depth + 1, of.kind === "" ? null : of);
  }
}

/** An object that cannot be named cannot be kept apart from the one it was before, so its file is broken. */
function keyOf(decoded: Decoded<unknown>, line: number): string {
  if (decoded.key !== null) return decoded.key;
  const problem = decoded.problems[0];
  throw new ManifestError(line, problem === undefined ? "has no name" : `${problem.field} ${problem.reason}`.trim());
}

async function* parseYaml(text: string): AsyncGenerator<{ line: number; value: unknown }> {
  // Loaded with the first YAML file: the agent of a cluster never needs it.
  const { Composer, LineCounter, Parser } = await import("yaml");
  const lines = new LineCounter();
  const lineOf = (offset: number) => Math.max(1, lines.linePos(offset).line);
  const composer = new Composer({ merge: true, logLevel: "silent" });
  const slicer = new Slicer();
  for (const document of composer.compose(new Parser(lines.addNewLine).parse(text), false, text.length)) {
    const error = document.errors[0];
    if (error !== undefined) throw new ManifestError(lineOf(error.pos[0]), error.message);
    const line = lineOf(document.contents?.range?.[0] ?? document.range[0]);
    let value: unknown;
    try {
      value = document.toJS({ maxAliasCount: MAX_ALIASES });
    } catch (thrown) {
      throw new ManifestError(line, reasonOf(thrown));
    }
    yield { line, value };
    if (slicer.due) await slicer.next();
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const reason = reasonOf(error);
    throw new ManifestError(lineOfJsonError(reason, text), reason);
  }
}

/** V8 names the line of most errors; of the rest it quotes ten characters before and behind, or means the end. */
function lineOfJsonError(reason: string, text: string): number {
  const named = /\(line (\d+) column \d+\)$/.exec(reason)?.[1];
  if (named !== undefined) return Number(named);
  const [, token = "", before, excerpt, behind] =
    /^Unexpected token '(.+?)', (\.\.\.)?"(.*)"(\.\.\.)? is not valid JSON$/s.exec(reason) ?? [];
  if (excerpt === undefined) return lineAt(text, text.length);
  const within = before ? 10 : behind ? excerpt.length - 10 : excerpt.lastIndexOf(token);
  return lineAt(text, text.indexOf(excerpt) + within);
}

function lineAt(text: string, offset: number): number {
  return text.slice(0, offset).split("\n").length;
}
