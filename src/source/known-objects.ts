// SPDX-License-Identifier: Apache-2.0
// What a reflector has delivered of one kind, by key and version: turns watch events and relists into deliveries, marks
// what a relist saw and sweeps the rest after its end unless that is most of what there was, and keeps one object's
// trouble to that object.

import { objectKey, type Problem } from "../model/types.ts";
import type { Decoded } from "./decode/decode.ts";
import { type JsonObject, member, objectMember } from "./decode/field.ts";

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
  /** Changes that the watch had passed and not told of, as a relist or a comparison found: must stay 0. */
  missed_events: number;
  rejected_objects: number;
  quarantined_objects: number;
}

/** A relist lacks most of what was known. */
export interface MassDeletion {
  /** Objects that it lacks, of so many that there were. */
  readonly missing: number;
  readonly of: number;
}

/** The objects of a list beside the watch: version by key, and the list's own version. */
export interface Snapshot {
  readonly version: string;
  readonly objects: ReadonlyMap<string, string>;
}

/** A relist may remove half of them at once; of this few, all. */
const FEW = 20;

interface Entry {
  version: string;
  epoch: number;
  delivered: boolean;
  troubled: boolean;
}

export class KnownObjects<T> {
  readonly counters: ObjectCounters = { events: 0, missed_events: 0, rejected_objects: 0, quarantined_objects: 0 };
  readonly #delivery: Delivery<T>;
  readonly #holdsMassDeletion: boolean;
  readonly #entries = new Map<string, Entry>();
  #epoch = 0;
  /** The version up to which the watch claims to have told everything; "" before the first relist is through. */
  #toldUpTo = "";
  /** Found by this relist, and missed by the watch. */
  #suspects = 0;
  /** Delivered objects when the last relist that was acted on whole was through, and the watch since. */
  #before = 0;
  #settled = true;
  #swept = 0;
  /** What the relist before this one lacked and was kept. */
  #held: ReadonlySet<string> = new Set();
  /** Equal versions need not mean equal objects: the history may be another. */
  #distrusted = false;
  /** This relist showed what in one history it cannot. */
  #doubted = false;
  /** Versions of deletions by key, while a comparison is under way. */
  #deletions: Map<string, string> | null = null;

  constructor(delivery: Delivery<T>, holdsMassDeletion: boolean) {
    this.#delivery = delivery;
    this.#holdsMassDeletion = holdsMassDeletion;
  }

  /** Another number for every relist. */
  get epoch(): number {
    return this.#epoch;
  }

  /** A relist begins; one that broke off is forgotten. Nothing is deleted until endRelist. */
  beginRelist(toldUpTo: string): void {
    this.#epoch++;
    this.#toldUpTo = toldUpTo;
    this.#suspects = 0;
    this.#doubted = false;
    if (this.#settled) this.#before = this.#countDelivered();
    this.#settled = false;
  }

  /** The server's versions went back: those known are of another history. The next relist delivers everything. */
  distrust(): void {
    this.#distrusted = true;
  }

  /** The next relist delivers everything. */
  get distrusted(): boolean {
    return this.#distrusted;
  }

  /** An object of a relist: delivered unless this very version was. */
  listed(object: JsonObject, receivedNs: bigint): void {
    const key = keyOf(object);
    const version = versionOf(object);
    const entry = this.#entries.get(key);
    if (entry !== undefined && entry.version === version && version !== "" && !this.#distrusted) {
      entry.epoch = this.#epoch;
      return;
    }
    if (entry !== undefined && this.#wentBack(entry, version) && entry.epoch === this.#epoch) return;
    const isNewer = entry === undefined || Number(version) > Number(entry.version);
    const isPassed = !this.#distrusted && this.#toldUpTo !== "" && Number(version) <= Number(this.#toldUpTo);
    const wasOurs = entry?.delivered ?? false;
    const isOurs = this.#accept(key, object, receivedNs);
    // What is not ours may come only now, of a server that does not know our selectors.
    if (isNewer && isPassed && (wasOurs || isOurs)) this.#suspects++;
  }

  /** Whether a later state of the object is known, of which one history cannot go back: this relist is doubted. */
  #wentBack(known: Entry, version: string): boolean {
    if (version === "" || Number(version) >= Number(known.version)) return false;
    this.#doubted ||= !this.#distrusted;
    return true;
  }

  /**
   * The relist is through: what it did not show is gone. If that is more than half of what there was, and
   * that was not little, it is kept, and the answer says so; what the next relist does not show either is gone then.
   * If it showed what the watch should have told, or an older object than was known, `distrusted` is true afterwards.
   */
  endRelist(receivedNs: bigint): MassDeletion | null {
    this.counters.missed_events += this.#suspects;
    this.#distrusted = this.#doubted || this.#suspects > 0;
    const unseen: [string, Entry][] = [];
    for (const pair of this.#entries) if (pair[1].epoch !== this.#epoch) unseen.push(pair);
    const gone = unseen.filter(([, entry]) => entry.delivered).map(([key]) => key);
    const unheard = gone.filter((key) => !this.#held.has(key)).length;
    if (this.#holdsMassDeletion && this.#before > FEW && unheard * 2 > this.#before) {
      this.#held = new Set(gone);
      return { missing: gone.length, of: this.#before };
    }
    this.#held = new Set();
    this.#settled = true;
    this.#swept = gone.length;
    for (const [key, entry] of unseen) this.#forget(key, entry, receivedNs);
    return null;
  }

  /** Objects that went with the last relist. */
  get swept(): number {
    return this.#swept;
  }

  #countDelivered(): number {
    let count = 0;
    for (const { delivered } of this.#entries.values()) if (delivered) count++;
    return count;
  }

  changed(object: JsonObject, receivedNs: bigint): void {
    this.counters.events++;
    this.#accept(keyOf(object), object, receivedNs);
  }

  deleted(object: JsonObject, receivedNs: bigint): void {
    this.counters.events++;
    const key = keyOf(object);
    this.#deletions?.set(key, versionOf(object));
    const entry = this.#entries.get(key);
    if (entry !== undefined && !this.#wentBack(entry, versionOf(object))) this.#forget(key, entry, receivedNs);
  }

  /** From now on deletions are remembered, until the comparison or its end. */
  beginComparison(): void {
    this.#deletions = new Map();
  }

  endComparison(): void {
    this.#deletions = null;
  }

  /**
   * Keys of objects that a list taken since beginComparison() knows otherwise than the watch told, to be asked when the
   * watch has passed the list's version. What changed after that version is no difference.
   */
  compare({ version, objects }: Snapshot): string[] {
    const missed: string[] = [];
    for (const [key, listed] of objects) {
      const told = this.#entries.get(key)?.version ?? this.#deletions?.get(key) ?? "0";
      // A version that is neither the list's nor later is of another history if it is not of an earlier time.
      if (told !== listed && Number(told) <= Number(version)) missed.push(key);
    }
    for (const [key, entry] of this.#entries)
      if (!objects.has(key) && Number(entry.version) <= Number(version)) missed.push(key);
    this.counters.missed_events += missed.length;
    this.#distrusted ||= missed.length > 0;
    return missed;
  }

  /** Whether it is one of ours. */
  #accept(key: string, object: JsonObject, receivedNs: bigint): boolean {
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
    return entry.delivered;
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
export function keyOf(object: JsonObject): string {
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
