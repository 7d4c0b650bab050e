// SPDX-License-Identifier: Apache-2.0
// Loads the socket programs against the pinned maps and puts them on the cgroup. A program is only ever replaced through
// its link, so there is no moment without one; a start that fails takes away what it made.

import { existsSync, mkdirSync, readdirSync, renameSync, rmdirSync, statSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { BpfError, BpfLink, BpfMap, BpfObject, type BpfProgram, Btf } from "libbpf-ts";
import { auditLinks, auditPins, type Hook, type Mender, type Pinned, replacePin } from "./pin-audit.ts";
import type { PinDirectory, PinPaths } from "./pins.ts";
import { Refusal } from "./refusal.ts";

/** Maps whose rows name each other by id: one of them new means all of them new. */
const COHERENT = ["pt_frontends", "pt_services", "pt_slots", "pt_backends", "pt_active", "pt_names"];

const LOAD_ATTEMPTS = 20;

/** bpf_set_retval in enum bpf_func_id, of Linux 5.18. */
const SET_RETVAL = 187;

export interface ProgramOptions {
  /** The object file, dist/bpf/sock.bpf.o. */
  readonly objectFile: string;
  /** max_entries by map name; a map that is not named keeps the object's. */
  readonly sizes: Readonly<Record<string, number>>;
  /** `const volatile` globals by C name. */
  readonly constants: Readonly<Record<string, number | bigint | boolean>>;
}

/** An object that the verifier has accepted. `maps` are those of its own name; adopted ones among them. */
interface Loaded {
  readonly object: BpfObject;
  readonly maps: ReadonlyMap<string, BpfMap>;
  /** Of a kernel with bpf_set_retval (5.18). */
  readonly setsErrno: boolean;
}

/** What the kernel says to the programs, without leaving anything behind: `error` is the verifier's or null. */
export function probePrograms(objectFile: string): {
  setsErrno: boolean;
  instructions: number;
  error: BpfError | null;
} {
  try {
    const small = { pt_frontends: 16, pt_services: 16, pt_slots: 1, pt_backends: 16, pt_active: 16, pt_sockets: 16 };
    const sizes = { ...small, pt_udp_peers: 1024, pt_affinity: 1024, pt_src_ranges: 16 };
    const { object, setsErrno } = loadObject({ objectFile, sizes, constants: { sockets_mask: 15 } }, new Map());
    using loaded = object;
    const counts = loaded.programs.map(({ name }) => loaded.program(name).info.verifiedInstructions);
    return { setsErrno, instructions: counts.reduce((sum, count) => sum + count, 0), error: null };
  } catch (error) {
    if (error instanceof BpfError) return { setsErrno: false, instructions: 0, error };
    throw error;
  }
}

/** The real programs are the probe: a kernel without the helper refuses them, and gets them without it. */
function loadObject(options: ProgramOptions, adopted: ReadonlyMap<string, BpfMap>): Loaded {
  try {
    return loadPatiently(options, adopted, true);
  } catch (error) {
    if (!(error instanceof BpfError) || error.code === "EPERM" || error.code === "ENOMEM") throw error;
    try {
      return loadPatiently(options, adopted, false);
    } catch {
      throw error;
    }
  }
}

/** The verifier gives up with EAGAIN when a signal comes while it works, a profiler's for example. */
function loadPatiently(options: ProgramOptions, adopted: ReadonlyMap<string, BpfMap>, setsErrno: boolean): Loaded {
  for (let attempt = 1; ; attempt++) {
    try {
      return loadWith(options, adopted, setsErrno);
    } catch (error) {
      if (!(error instanceof BpfError) || error.code !== "EAGAIN" || attempt === LOAD_ATTEMPTS) throw error;
    }
  }
}

function loadWith(options: ProgramOptions, adopted: ReadonlyMap<string, BpfMap>, setsErrno: boolean): Loaded {
  const object = openSized(options);
  try {
    for (const [name, value] of Object.entries(options.constants)) object.setRodata(name, value);
    object.setRodata("have_set_retval", setsErrno);
    // Without CAP_PERFMON the verifier walks branches that are never taken too, and knows no helper there.
    if (!setsErrno) object.stubHelper(SET_RETVAL, 0);
    for (const [name, map] of adopted) object.reuseMap(name, map);
    object.load();
    const ours = object.maps.filter(({ name }) => name.startsWith("pt_"));
    return { object, maps: new Map(ours.map(({ name }) => [name, adopted.get(name) ?? object.map(name)])), setsErrno };
  } catch (error) {
    object.close();
    throw error;
  }
}

function openSized({ objectFile, sizes }: ProgramOptions): BpfObject {
  const object = BpfObject.open(objectFile);
  for (const [name, entries] of Object.entries(sizes)) object.setMaxEntries(name, entries);
  return object;
}

/** Why a pinned map cannot be taken over; empty: it can. */
function mismatches(object: BpfObject, pinned: ReadonlyMap<string, BpfMap>): string[] {
  using objectTypes = object.btf();
  return object.maps.flatMap((spec) => {
    const map = pinned.get(spec.name);
    if (map === undefined) return [];
    const { type, keySize, valueSize, maxEntries, flags } = map.info;
    const same = [
      ["type", type, spec.type],
      ["key size", keySize, spec.keySize],
      ["value size", valueSize, spec.valueSize],
      ["size", maxEntries, spec.maxEntries],
      ["flags", flags, spec.flags],
    ].flatMap(([what, is, wanted]) => (is === wanted ? [] : [`${what} is ${is}, wanted ${wanted}`]));
    const layout = same.length === 0 ? layoutMismatch(objectTypes, spec.name, map) : [];
    return [...same, ...layout].map((problem) => `map ${spec.name}: ${problem}`);
  });
}

/** Compares member by member. A process without CAP_SYS_ADMIN may not read a map's BTF: then sizes have to do. */
function layoutMismatch(objectTypes: Btf, name: string, map: BpfMap): string[] {
  try {
    using mapTypes = Btf.ofMap(map);
    const names = objectTypes.mapTypes(name);
    if (mapTypes === null || names === null) return [];
    return [names.key, names.value].flatMap((type) => {
      if (type === null) return [];
      const [is, wanted] = [mapTypes.struct(type), objectTypes.struct(type)];
      return JSON.stringify(is) === JSON.stringify(wanted) ? [] : [`struct ${type} has another layout`];
    });
  } catch (error) {
    if (error instanceof BpfError && error.code === "EPERM") return [];
    throw error;
  }
}

function openPinned(dir: string): Map<string, BpfMap> {
  if (!existsSync(dir)) return new Map();
  return new Map(readdirSync(dir).map((name) => [name, BpfMap.open(join(dir, name))]));
}

export interface InstallOptions extends ProgramOptions {
  readonly pins: PinDirectory;
  readonly cgroup: string;
  /** Replace maps that do not match instead of refusing. */
  readonly recreateMaps: boolean;
}

/** The programs of one agent: loaded, and after activate() attached and pinned. */
export class Programs implements Disposable {
  /** Loaded; its maps are the pinned ones. */
  readonly object: BpfObject;
  /** Whether a refused call can be given its errno (Linux 5.18). */
  readonly setsErrno: boolean;
  /**
   * Why the maps are new although there were some; null if they were adopted, or there were none. The old programs go
   * on with the old maps until activate(): fill the new ones first.
   */
  readonly replaced: string | null;
  readonly #maps: ReadonlyMap<string, BpfMap>;
  readonly #paths: PinPaths;
  readonly #cgroup: string;
  readonly #staged: boolean;
  readonly #pins: PinDirectory;
  /** By program: what activate() attached. */
  readonly #hooks = new Map<string, Hook>();
  /** Undoes what this start made, newest first. */
  readonly #undo: (() => void)[] = [];

  /** Throws Refusal for maps that do not match, BpfError with the verifier's log if the programs do not load. */
  constructor(options: InstallOptions) {
    this.#pins = options.pins;
    this.#paths = options.pins.paths;
    this.#cgroup = options.cgroup;
    finishSwap(this.#paths);
    const pinned = openPinned(this.#paths.maps);
    this.replaced = reasonToReplace(options, pinned);
    const adopted = this.replaced === null ? pinned : new Map<string, BpfMap>();
    const loaded = loadObject(options, adopted);
    for (const [name, map] of pinned) if (loaded.maps.get(name) !== map) map.close();
    this.object = loaded.object;
    this.#maps = loaded.maps;
    this.setsErrno = loaded.setsErrno;
    this.#staged = adopted.size === 0;
    if (!this.#staged) this.#pinMaps(this.#paths.maps, adopted);
  }

  /** Pins new maps and puts every program on its hook, in place of the one that is there. */
  activate(): void {
    if (this.#staged && !existsSync(join(this.#paths.maps, "pt_names")))
      this.#undo.push(() => removeDir(this.#paths.maps));
    if (this.#staged) this.#swapMaps();
    for (const { name, expectedAttachType } of this.object.programs) {
      const program = this.object.program(name);
      const link = this.#attach(name, program, expectedAttachType);
      this.#hooks.set(name, { program, programId: program.info.id, attachType: expectedAttachType, link });
      replacePin(join(this.#paths.progs, name), (path) => program.pin(path));
    }
    for (const dir of [this.#paths.links, this.#paths.progs]) this.#removeStale(dir);
  }

  /** Ids of the programs that are on the hooks, ours. */
  get programIds(): ReadonlySet<number> {
    return new Set(this.object.programs.map(({ name }) => this.object.program(name).info.id));
  }

  /** Takes away what this start made; what was there before stays, and keeps serving. */
  undo(): void {
    for (const step of this.#undo.splice(0).reverse()) step();
  }

  [Symbol.dispose](): void {
    for (const { link, program } of this.#hooks.values()) {
      link.close();
      program.close();
    }
    this.object.close();
    for (const map of this.#maps.values()) map.close();
  }

  /** Puts programs back on hooks that somebody took them off. */
  auditLinks(mender: Mender): void {
    if (this.#hooks.size > 0) auditLinks(this.#pinned(), mender);
  }

  /** Puts back what is missing of links and pins, or of which there is something else. */
  audit(mender: Mender): void {
    if (this.#hooks.size === 0) return;
    this.#pins.restore();
    auditLinks(this.#pinned(), mender);
    auditPins(this.#pinned(), mender);
  }

  #pinned(): Pinned {
    return { paths: this.#paths, cgroup: this.#cgroup, maps: this.#maps, hooks: this.#hooks };
  }

  #attach(name: string, program: BpfProgram, attachType: string): BpfLink {
    const path = join(this.#paths.links, name);
    const existed = existsSync(path);
    if (existed) {
      const link = BpfLink.open(path);
      if (link.info.cgroupId === statSync(this.#cgroup, { bigint: true }).ino) {
        link.update(program);
        return link;
      }
      link.close();
    }
    // None yet, of another cgroup, or of one that is gone: the new one is there before the old one goes.
    const link = program.attachCgroup(this.#cgroup, attachType);
    replacePin(path, (pin) => link.pin(pin));
    if (!existed) this.#undo.push(() => unlinkSync(path));
    return link;
  }

  #pinMaps(dir: string, but: ReadonlyMap<string, BpfMap>): void {
    for (const [name, map] of this.#maps) {
      if (but.has(name)) continue;
      const path = join(dir, name);
      map.pin(path);
      this.#undo.push(() => existsSync(path) && unlinkSync(path));
    }
  }

  /** `maps` is complete or not there at all, whenever the process ends. */
  #swapMaps(): void {
    const [fresh, old] = [join(this.#paths.version, "maps-new"), join(this.#paths.version, "maps-old")];
    removeDir(fresh);
    mkdirSync(fresh, { mode: 0o700 });
    for (const [name, map] of this.#maps) map.pin(join(fresh, name));
    if (existsSync(this.#paths.maps)) renameSync(this.#paths.maps, old);
    renameSync(fresh, this.#paths.maps);
    removeDir(old);
  }

  /** Pins of programs that this release does not have. */
  #removeStale(dir: string): void {
    const names = new Set(this.object.programs.map(({ name }) => name));
    for (const name of readdirSync(dir)) if (!names.has(name)) unlinkSync(join(dir, name));
  }
}

export interface HookStatus {
  /** The program's name, "pt_connect4". */
  readonly program: string;
  readonly programId: number;
  /** Inode of the cgroup directory; null: the link holds on to nothing (the cgroup is gone, or somebody detached it). */
  readonly cgroupId: bigint | null;
}

/** What the pinned links hold in place; empty if nothing is pinned. Changes nothing. */
export function hookStatus({ links }: PinPaths): HookStatus[] {
  if (!existsSync(links)) return [];
  return readdirSync(links).map((program) => {
    using link = BpfLink.open(join(links, program));
    const { programId, cgroupId } = link.info;
    return { program, programId, cgroupId: cgroupId === 0n ? null : cgroupId };
  });
}

/** Ids of the programs behind our pinned links. */
export function attachedPrograms(paths: PinPaths): ReadonlySet<number> {
  return new Set(hookStatus(paths).map(({ programId }) => programId));
}

/** Null: adopt what is pinned, or there is nothing. Throws Refusal where that needs somebody's consent. */
function reasonToReplace(options: InstallOptions, pinned: ReadonlyMap<string, BpfMap>): string | null {
  if (pinned.size === 0) return null;
  const missing = COHERENT.filter((name) => !pinned.has(name));
  if (missing.length > 0) return `the pins of ${missing.join(", ")} are gone`;
  using object = openSized(options);
  const problems = mismatches(object, pinned);
  if (problems.length === 0) return null;
  if (options.recreateMaps) return problems.join("; ");
  throw new Refusal(
    problems.map(
      (problem) =>
        `${problem}: configure the size that is there, or start once with --recreate-maps (that forgets ` +
        "affinity, the peer names and counts of open connections, and who unconnected UDP sockets talk to)",
    ),
  );
}

/** Ends a swap that a killed agent had begun. */
function finishSwap({ version, maps }: PinPaths): void {
  const [fresh, old] = [join(version, "maps-new"), join(version, "maps-old")];
  if (!existsSync(maps) && existsSync(old)) renameSync(existsSync(fresh) ? fresh : old, maps);
  removeDir(fresh);
  removeDir(old);
}

function removeDir(dir: string): void {
  if (!existsSync(dir)) return;
  for (const name of readdirSync(dir)) unlinkSync(join(dir, name));
  rmdirSync(dir);
}
