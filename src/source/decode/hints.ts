// SPDX-License-Identifier: Apache-2.0
// Which zones and nodes is an endpoint meant for? Lists of names, of which a cluster has few and an object many: equal
// ones are one array.

import {
  describe,
  type Findings,
  intern,
  isObject,
  type JsonObject,
  listMember,
  member,
  objectMember,
} from "./field.ts";
import { SharedLists } from "./shared-lists.ts";

const NONE: readonly string[] = [];
const lists = new SharedLists<string>();

/** Gathers the hints of one slice's endpoints in their order. */
export class HintReader {
  readonly #findings: Findings;
  readonly #zones: (readonly string[])[] = [];
  readonly #nodes: (readonly string[])[] = [];
  #anyZone = false;
  #anyNode = false;

  constructor(findings: Findings) {
    this.#findings = findings;
  }

  /** Takes the hints of one more endpoint, the index-th of its list. */
  add(endpoint: JsonObject, index: number): void {
    const hints = objectMember(endpoint, "hints");
    const zones = hints === undefined ? NONE : this.#names(hints, "forZones", index);
    const nodes = hints === undefined ? NONE : this.#names(hints, "forNodes", index);
    this.#zones.push(zones);
    this.#nodes.push(nodes);
    this.#anyZone ||= zones.length > 0;
    this.#anyNode ||= nodes.length > 0;
  }

  /** For each endpoint, or null if none has any. */
  get zones(): readonly (readonly string[])[] | null {
    return this.#anyZone ? this.#zones.slice() : null;
  }

  get nodes(): readonly (readonly string[])[] | null {
    return this.#anyNode ? this.#nodes.slice() : null;
  }

  #names(hints: JsonObject, field: "forZones" | "forNodes", index: number): readonly string[] {
    if (!Object.hasOwn(hints, field)) return NONE;
    const path = `endpoints[${index}].hints.${field}`;
    const entries = listMember(hints, field, path, this.#findings);
    const names: string[] = [];
    for (const [i, entry] of entries.entries()) {
      const name = isObject(entry) ? member(entry, "name") : undefined;
      if (typeof name === "string" && name !== "") names.push(intern(name));
      else this.#findings.add(`${path}[${i}].name`, `must be a name, not ${describe(name)}`);
    }
    return lists.of(names);
  }
}
