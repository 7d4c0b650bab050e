// SPDX-License-Identifier: Apache-2.0
// What a reflector has delivered of one kind, by key and version: turns watch events and relists into deliveries, marks
// what a relist saw and sweeps the rest after its end, and keeps one object's trouble to that object.

import { objectKey, type Problem } from "../model/types.ts";
import type { Decoded } from "./decode.ts";
import { type JsonObject, member, objectMember } from "./decode-field.ts";

/** Where the objects of one kind go. */
export interface Delivery<T> {
  readonly kind: Problem["kind"];
  readonly decode: (object: unknown) => Decoded<T>;
  readonly deliver: (key: string, object: T | null, receivedNs: bigint) => void;
  /** An empty list clears. */
  readonly problems: (key: string, problems: readonly Problem[]) => void;
}

export interface ObjectCounters {
  events: number;
  /** Objects that a relist found changed although the watch had passed their version: must stay 0. */
  missed_events: number;
  rejected_objects: number;
  quarantined_objects: number;
}

interface Entry {
  version: string;
  epoch: number;
  delivered: boolean;
  troubled: boolean;
}

export class KnownObjects<T> {
  readonly counters: ObjectCounters = { events: 0, missed_events: 0, rejected_objects: 0, quarantined_objects: 0 };
  readonly #delivery: Delivery<T>;
  readonly #entries = new Map<string, Entry>();
  #epoch = 0;
  /** The version up to which the watch claims to have told everything; "" before the first relist is through. */
  #toldUpTo = "";

  constructor(delivery: Delivery<T>) {
    this.#delivery = delivery;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** A relist begins; one that broke off is forgotten. Nothing is deleted until endRelist. */
  beginRelist(toldUpTo: string): void {
    this.#epoch++;
    this.#toldUpTo = toldUpTo;
  }

  /** An object of a relist: delivered unless this very version was. */
  listed(object: JsonObject, receivedNs: bigint): void {
    const key = keyOf(object);
    const version = versionOf(object);
    const entry = this.#entries.get(key);
    if (entry !== undefined && entry.version === version && version !== "") {
      entry.epoch = this.#epoch;
      return;
    }
    if (this.#toldUpTo !== "" && Number(version) <= Number(this.#toldUpTo)) this.counters.missed_events++;
    this.#accept(key, object, receivedNs);
  }

  /** The relist is through: what it did not show is gone. */
  endRelist(receivedNs: bigint): void {
    for (const [key, entry] of this.#entries) {
      if (entry.epoch === this.#epoch) continue;
      this.#forget(key, entry, receivedNs);
    }
  }

  changed(object: JsonObject, receivedNs: bigint): void {
    this.counters.events++;
    this.#accept(keyOf(object), object, receivedNs);
  }

  deleted(object: JsonObject, receivedNs: bigint): void {
    this.counters.events++;
    const key = keyOf(object);
    const entry = this.#entries.get(key);
    if (entry !== undefined) this.#forget(key, entry, receivedNs);
  }

  #accept(key: string, object: JsonObject, receivedNs: bigint): void {
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      entry = { version: "", epoch: 0, delivered: false, troubled: false };
      this.#entries.set(key, entry);
    }
    entry.version = versionOf(object);
    entry.epoch = this.#epoch;
    try {
      this.#deliver(key, entry, this.#delivery.decode(object), receivedNs);
    } catch (error) {
      this.counters.quarantined_objects++;
      const reason = `internal error: ${error instanceof Error ? error.message : String(error)}`;
      this.#tell(key, entry, [{ kind: this.#delivery.kind, key, field: "", reason }]);
    }
  }

  #deliver(key: string, entry: Entry, decoded: Decoded<T>, receivedNs: bigint): void {
    const rejected = decoded.object === null && decoded.problems.length > 0;
    if (rejected) this.counters.rejected_objects++;
    // A rejected object stays what it was: there is nothing better to program.
    else if (decoded.object !== null || entry.delivered) {
      entry.delivered = decoded.object !== null;
      this.#delivery.deliver(key, decoded.object, receivedNs);
    }
    this.#tell(key, entry, decoded.problems);
  }

  #tell(key: string, entry: Entry, problems: readonly Problem[]): void {
    if (problems.length === 0 && !entry.troubled) return;
    entry.troubled = problems.length > 0;
    this.#delivery.problems(key, problems);
  }

  #forget(key: string, entry: Entry, receivedNs: bigint): void {
    this.#entries.delete(key);
    if (entry.delivered) this.#delivery.deliver(key, null, receivedNs);
    this.#tell(key, entry, []);
  }
}

/** By the raw names, so that an object that cannot be decoded is still told apart from others. */
function keyOf(object: JsonObject): string {
  const metadata = objectMember(object, "metadata") ?? {};
  const namespace = member(metadata, "namespace") ?? "default";
  const name = member(metadata, "name");
  return objectKey(typeof namespace === "string" ? namespace : "", typeof name === "string" ? name : "");
}

/** "" if it has none. */
export function versionOf(object: JsonObject): string {
  const version = member(objectMember(object, "metadata") ?? {}, "resourceVersion");
  return typeof version === "string" ? version : "";
}
