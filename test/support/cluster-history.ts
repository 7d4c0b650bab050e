// SPDX-License-Identifier: Apache-2.0
// What a cluster's storage has been through: every version of every Service and EndpointSlice, so that servers can show
// what they have seen of it, pages stay of one version, and a backup can be put back.

import type { ApiObject } from "./api-server.ts";

export const STORED = ["services", "endpointslices"] as const;
export type Stored = (typeof STORED)[number];

export interface Change {
  readonly version: number;
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly key: string;
  /** As it became; of a deletion, as it was, with the deletion's version. */
  readonly object: ApiObject;
}

const bothOf = <T>(make: () => T): Record<Stored, T> => ({ services: make(), endpointslices: make() });

export class ClusterHistory {
  #version = 1_000;
  #oldest = 0;
  #changes = bothOf<Change[]>(() => []);
  #objects = bothOf(() => new Map<string, ApiObject>());
  readonly #followers = new Set<() => void>();
  /** Every version of every object that there ever was, in all histories. */
  readonly #given = new Set<string>();

  get version(): number {
    return this.#version;
  }

  /** Who asks for a version before this one is told that it is gone. */
  get oldest(): number {
    return this.#oldest;
  }

  /** Called after each change. */
  follow(follower: () => void): void {
    this.#followers.add(follower);
  }

  keys(resource: Stored): string[] {
    return [...this.#objects[resource].keys()];
  }

  get(resource: Stored, key: string): ApiObject | undefined {
    return this.#objects[resource].get(key);
  }

  put(resource: Stored, object: ApiObject): void {
    const key = `${object.metadata.namespace}/${object.metadata.name}`;
    const type = this.#objects[resource].has(key) ? "MODIFIED" : "ADDED";
    // Where nothing else differs, nobody can tell that one object was given one version in two histories.
    do this.#version++;
    while (this.#given.has(`${key} ${this.#version}`));
    this.#given.add(`${key} ${this.#version}`);
    const stored = { ...object, metadata: { ...object.metadata, resourceVersion: String(this.#version) } };
    this.#objects[resource].set(key, stored);
    this.#log(resource, { version: this.#version, type, key, object: stored });
  }

  remove(resource: Stored, key: string): void {
    const object = this.#objects[resource].get(key);
    if (object === undefined) return;
    this.#objects[resource].delete(key);
    const metadata = { ...object.metadata, resourceVersion: String(++this.#version) };
    this.#log(resource, { version: this.#version, type: "DELETED", key, object: { ...object, metadata } });
  }

  /** Other kinds of objects change. */
  jump(by: number): void {
    this.#version += by;
  }

  compact(): void {
    this.#oldest = this.#version;
  }

  /** A backup of that version is put back; with `bump` no version is ever given out twice. */
  restore(version: number, bump: boolean): void {
    for (const resource of STORED) {
      const kept = this.#changes[resource].filter((change) => change.version <= version);
      this.#changes[resource] = kept;
      this.#objects[resource] = replay(kept);
    }
    this.#version = bump ? this.#version + 1_000_000 : version;
    this.#oldest = bump ? this.#version : Math.min(this.#oldest, version);
    this.#tell();
  }

  /** All objects as they were at a version. */
  at(resource: Stored, version: number): ApiObject[] {
    if (version >= this.#version) return [...this.#objects[resource].values()];
    return [...replay(this.#changes[resource].filter((change) => change.version <= version)).values()];
  }

  /** Changes after one version, up to another. */
  between(resource: Stored, after: number, upTo: number): Change[] {
    const changes = this.#changes[resource];
    let from = changes.length;
    while (from > 0 && (changes[from - 1]?.version ?? 0) > after) from--;
    return changes.slice(from).filter(({ version }) => version <= upTo);
  }

  #log(resource: Stored, change: Change): void {
    this.#changes[resource].push(change);
    this.#tell();
  }

  #tell(): void {
    for (const follower of this.#followers) follower();
  }
}

function replay(changes: readonly Change[]): Map<string, ApiObject> {
  const objects = new Map<string, ApiObject>();
  for (const { type, key, object } of changes) {
    if (type === "DELETED") objects.delete(key);
    else objects.set(key, object);
  }
  return objects;
}
