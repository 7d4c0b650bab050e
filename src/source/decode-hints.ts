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
} from "./decode-field.ts";
import { SharedLists } from "./shared-lists.ts";

const NONE: readonly string[] = [];
const NO_HINTS: JsonObject = {};
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

  /** Takes the hints of one more endpoint; `path` is the endpoint's. */
  add(endpoint: JsonObject, path: string): void {
    const hints = objectMember(endpoint, "hints") ?? NO_HINTS;
    const zones = this.#names(hints, "forZones", path);
    const nodes = this.#names(hints, "forNodes", path);
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

  #names(hints: JsonObject, field: "forZones" | "forNodes", path: string): readonly string[] {
    if (hints === NO_HINTS) return NONE;
    const names: string[] = [];
    for (const [i, entry] of listMember(hints, field, `${path}.hints.${field}`, this.#findings).entries()) {
      const name = isObject(entry) ? member(entry, "name") : undefined;
      if (typeof name === "string" && name !== "") names.push(intern(name));
      else this.#findings.add(`${path}.hints.${field}[${i}].name`, `must be a name, not ${describe(name)}`);
    }
    return lists.of(names);
  }
}
