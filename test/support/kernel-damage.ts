// SPDX-License-Identifier: Apache-2.0
// What somebody's hand does to an installation: rows, slots and words of its maps, its pins, its links, one at random and
// each of a kind that an audit names.

import { readdirSync, renameSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { BpfLink, BpfMap, BpfObject } from "libbpf-ts";
import type { Damage } from "../../src/agent/audit.ts";
import type { Random } from "./damage.ts";

const SOCKET_OBJECT = join(import.meta.dirname, "../../dist/bpf/sock.bpf.o");

type Hand = (pins: string, pick: Random) => void;

const pinned = (pins: string, name: string): BpfMap => BpfMap.open(join(pins, "maps", name));

function flip(bytes: Uint8Array, pick: Random, [from, to]: readonly [number, number]): Uint8Array {
  const changed = bytes.slice();
  const at = from + pick(to - from);
  changed[at] = (changed[at] ?? 0) ^ (1 << pick(8));
  return changed;
}

/** One row less, one that is different, or one more. Value bytes from `from` to `to` mean something. */
function hash(name: string, means: readonly [from: number, to: number]): Hand {
  return (pins, pick) => {
    using map = pinned(pins, name);
    const rows = [...map.entries()];
    const [key, value] = rows[pick(rows.length)] ?? [];
    if (key === undefined || value === undefined) throw new Error(`${name} is empty`);
    const how = pick(3);
    if (how === 0) map.delete(key);
    else if (how === 1) map.set(key, flip(value, pick, means));
    else map.set(flip(key, pick, [0, key.length]), value);
  };
}

/** Flips a bit of an array's element that is in use. */
function array(name: string, [from, to]: readonly [number, number]): Hand {
  return (pins, pick) => {
    using map = pinned(pins, name);
    using view = map.mmap();
    const bytes = new Uint8Array(view.buffer);
    const size = name === "pt_slots" ? 4 : view.elementSize;
    const words = new Uint32Array(view.buffer);
    const elements = new Set<number>();
    for (let i = 0; i < words.length; i++) if (words[i] !== 0) elements.add(i * 4 - ((i * 4) % size));
    const used = [...elements];
    const at = (used[pick(used.length)] ?? 0) + from + pick(to - from);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << pick(8));
  };
}

/** A range less, or one more of the same Service: its bytes are the last four of the key's address, or its length. */
function sourceRange(pins: string, pick: Random): void {
  using map = pinned(pins, "pt_src_ranges");
  const keys = [...map.keys()];
  const key = keys[pick(keys.length)];
  if (key === undefined) throw new Error("no source range");
  const value = map.get(key);
  if (pick(2) === 0 || value === null) map.delete(key);
  else map.set(flip(key, pick, [4, 8]), value);
}

function clearBits(pins: string, pick: Random): void {
  using map = pinned(pins, "pt_address_bits");
  using view = map.mmap();
  const words = new Uint32Array(view.buffer);
  const used = [...words.keys()].filter((at) => words[at] !== 0);
  words[used[pick(used.length)] ?? 0] = 0;
}

/** Removes a pin, or puts one of something else in its place. */
function pin(folder: "maps" | "links" | "progs"): Hand {
  return (pins, pick) => {
    const names = readdirSync(join(pins, folder));
    const path = join(pins, folder, names[pick(names.length)] ?? "");
    if (pick(2) === 0) {
      unlinkSync(path);
      return;
    }
    using other = BpfMap.create({ type: "array", name: "other", keySize: 4, valueSize: 4, maxEntries: 1 });
    // In its place at once: a pin that is gone may be back before another is put there.
    const elsewhere = join(pins, "..", "..", "other");
    other.pin(elsewhere);
    renameSync(elsewhere, path);
  };
}

function someLink(pins: string, pick: Random): string {
  const names = readdirSync(join(pins, "links"));
  return names[pick(names.length)] ?? "";
}

function detach(pins: string, pick: Random): void {
  using link = BpfLink.open(join(pins, "links", someLink(pins, pick)));
  link.detach();
}

/** The link stays, and another program is behind it. */
function replaceProgram(pins: string, pick: Random): void {
  const name = someLink(pins, pick);
  using object = BpfObject.open(SOCKET_OBJECT);
  object.load();
  using link = BpfLink.open(join(pins, "links", name));
  using other = object.program(name);
  link.update(other);
}

/** `pins` is the folder of maps, links and progs. */
export const HANDS: readonly (readonly [Damage, Hand])[] = [
  ["frontend", hash("pt_frontends", [0, 8])],
  ["name", hash("pt_names", [2, 12])],
  ["node-address", hash("pt_node_addrs", [0, 4])],
  ["source-range", sourceRange],
  ["service", array("pt_services", [0, 20])],
  ["slot", array("pt_slots", [0, 4])],
  ["backend", array("pt_backends", [0, 19])],
  ["backend", array("pt_backends", [20, 32])],
  ["address-bits", clearBits],
  ["map-pin", pin("maps")],
  ["link-pin", pin("links")],
  ["program-pin", pin("progs")],
  ["link", detach],
  ["link", replaceProgram],
];
