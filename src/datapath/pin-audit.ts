// SPDX-License-Identifier: Apache-2.0
// Whether pins and links are still those that were made, and what it takes to have them so again. Maps, programs and links
// are held open by this process: a pin that somebody removes or replaces costs nothing but the pin.

import { existsSync, lstatSync, renameSync, rmdirSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { BpfError, BpfLink, BpfMap, BpfProgram } from "libbpf-ts";
import type { PinPaths } from "./pins.ts";

/** Of pins: gone, or of something else. Of links: off their hook, or with somebody else's program. */
export const PIN_DAMAGE = ["map-pin", "link-pin", "program-pin", "link"] as const;
export type PinDamage = (typeof PIN_DAMAGE)[number];

/** Who counts; `mend` may throw: then the damage is still there. */
export interface Mender {
  mend(kind: PinDamage, what: string, mend: () => void): void;
}

/** A program on its hook. */
export interface Hook {
  readonly program: BpfProgram;
  readonly programId: number;
  /** "cgroup_inet4_connect" */
  readonly attachType: string;
  link: BpfLink;
}

/** What one agent has pinned and attached. */
export interface Pinned {
  readonly paths: PinPaths;
  readonly cgroup: string;
  readonly maps: ReadonlyMap<string, BpfMap>;
  readonly hooks: ReadonlyMap<string, Hook>;
}

/** Some system calls: may be asked every second. */
export function auditLinks(pinned: Pinned, mender: Mender): void {
  for (const [name, hook] of pinned.hooks) {
    const { programId, cgroupId } = hook.link.info;
    if (cgroupId === null || cgroupId === 0n)
      mender.mend("link", `${name} was detached`, () => attach(pinned, name, hook));
    else if (programId !== hook.programId) {
      mender.mend("link", `${name} had another program`, () => hook.link.update(hook.program));
    }
  }
}

/** The pin follows: it is the new link from the moment there is one. */
function attach({ paths, cgroup }: Pinned, name: string, hook: Hook): void {
  const link = hook.program.attachCgroup(cgroup, hook.attachType);
  try {
    replacePin(join(paths.links, name), (path) => link.pin(path));
  } catch (error) {
    link.close();
    throw error;
  }
  hook.link.close();
  hook.link = link;
}

export function auditPins({ paths, maps, hooks }: Pinned, mender: Mender): void {
  for (const [name, map] of maps) {
    const path = join(paths.maps, name);
    const what = damageOf(path, map.info.id, BpfMap.open);
    if (what !== null) mender.mend("map-pin", `${name} ${what}`, () => replacePin(path, (pin) => map.pin(pin)));
  }
  for (const [name, { link, program, programId }] of hooks) {
    const linkPath = join(paths.links, name);
    const linkDamage = damageOf(linkPath, link.info.id, BpfLink.open);
    if (linkDamage !== null) {
      mender.mend("link-pin", `${name} ${linkDamage}`, () => replacePin(linkPath, (pin) => link.pin(pin)));
    }
    const programPath = join(paths.progs, name);
    const programDamage = damageOf(programPath, programId, BpfProgram.open);
    if (programDamage !== null) {
      mender.mend("program-pin", `${name} ${programDamage}`, () => replacePin(programPath, (pin) => program.pin(pin)));
    }
  }
}

interface Opened extends Disposable {
  readonly info: { readonly id: number };
}

/** In words; null: it is the pin of that id. */
function damageOf(path: string, id: number, open: (path: string) => Opened): string | null {
  if (!existsSync(path)) return "was gone";
  try {
    using found = open(path);
    return found.info.id === id ? null : "was another one";
  } catch (error) {
    if (!(error instanceof BpfError)) throw error;
    return "was something else";
  }
}

/** Pins beside the path, then moves over it: the name never points at nothing. */
export function replacePin(path: string, pin: (path: string) => void): void {
  const fresh = `${path}-new`;
  if (existsSync(fresh)) unlinkSync(fresh);
  pin(fresh);
  if (lstatSync(path, { throwIfNoEntry: false })?.isDirectory()) rmdirSync(path);
  renameSync(fresh, path);
}
