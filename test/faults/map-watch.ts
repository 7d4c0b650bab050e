// SPDX-License-Identifier: Apache-2.0
// What the pinned maps serve, held against all that was ever true: nothing that is there, and was when it was seen in the
// maps, may be missing from them at any later moment.

import { join } from "node:path";
import { BACKEND } from "../../src/datapath/layout.ts";
import { Maps } from "../../src/datapath/maps.ts";
import type { ApiObject } from "../support/api-server.ts";
import { type Book, serviceOf, writeOf } from "../support/chaos-world.ts";
import type { ClusterHistory } from "../support/cluster-history.ts";
import { endpointText, pickable } from "../support/map-lines.ts";

interface Served {
  readonly port: number;
  /** "address:port". */
  readonly endpoints: ReadonlySet<string>;
}

/** By Service. Throws if they cannot be opened. */
export function servedBy(pins: string): Map<string, Served> {
  using maps = Maps.openPinned(join(pins, "maps"), { readOnly: true });
  const names = new Map(maps.names());
  const found = new Map<string, Served>();
  for (const { serviceId, protocol, port } of maps.frontends()) {
    const key = names.get(serviceId)?.name.split(":", 1)[0];
    if (key === undefined || protocol === 0) continue;
    // While a port changes both are there.
    if ((found.get(key)?.port ?? 0) > port) continue;
    const endpoints = Array.from(pickable(maps, serviceId, BACKEND.CLUSTER), (id) => endpointText(maps, id));
    found.set(key, { port, endpoints: new Set(endpoints) });
  }
  return found;
}

function endpointsOf(slice: ApiObject): string[] {
  const write = writeOf("endpointslices", slice);
  const endpoints = slice["endpoints"] as readonly { readonly addresses: readonly string[] }[];
  return endpoints.map(({ addresses }) => `${addresses[0]}:${write}`);
}

/** Where the maps differ from what they are to serve. */
export function differing(served: ReadonlyMap<string, Served>, history: ClusterHistory): string[] {
  const wanted = new Map<string, { port: number; endpoints: Set<string> }>();
  for (const object of history.at("services", history.version))
    wanted.set(keyOf(object), { port: writeOf("services", object), endpoints: new Set() });
  for (const slice of history.at("endpointslices", history.version))
    for (const endpoint of endpointsOf(slice)) wanted.get(serviceOf(slice))?.endpoints.add(endpoint);
  const text = (is: Served | undefined) => (is === undefined ? "nothing" : `${is.port} ${[...is.endpoints].sort()}`);
  return [...new Set([...wanted.keys(), ...served.keys()])]
    .filter((key) => text(wanted.get(key)) !== text(served.get(key)))
    .map((key) => `${key}: ${text(served.get(key))}, and not ${text(wanted.get(key))}`);
}

interface Seen {
  readonly write: number;
  /** The book's time. */
  readonly at: number;
  misses: number;
}

export class MapWatch {
  readonly wrong: string[] = [];
  looks = 0;
  #blind = false;
  readonly #pins: string;
  readonly #history: ClusterHistory;
  readonly #book: Book;
  readonly #slices = new Map<string, Seen>();

  constructor(pins: string, history: ClusterHistory, book: Book) {
    this.#pins = pins;
    this.#history = history;
    this.#book = book;
  }

  /** Somebody's hand is in the maps: what is or was seen there binds nobody. */
  close(): void {
    this.#blind = true;
    this.#slices.clear();
    this.#book.forget("services");
  }

  open(): void {
    this.#blind = false;
  }

  look(): void {
    if (this.#blind) return;
    const served = this.#served();
    if (served === null) return;
    this.looks++;
    this.#lookForGone(served);
    for (const [key, { port }] of served) this.#book.told("services", key, port);
    for (const slice of this.#history.at("endpointslices", this.#history.version)) this.#lookAt(slice, served);
  }

  /** Null: a pin is gone. */
  #served(): Map<string, Served> | null {
    try {
      return servedBy(this.#pins);
    } catch {
      return null;
    }
  }

  /** While a port changes one look may pass both rows by: the new one came where it had been, the old one went ahead of it. */
  #lookForGone(served: ReadonlyMap<string, Served>): void {
    const lost = this.#book.toldOf("services").filter((key) => !served.has(key));
    if (lost.length === 0) return;
    const again = this.#served();
    for (const key of lost) if (again?.has(key) === false) this.#book.told("services", key, null);
  }

  /** A slice is seen by its endpoints, where it has any. */
  #lookAt(slice: ApiObject, served: ReadonlyMap<string, Served>): void {
    const key = keyOf(slice);
    const service = serviceOf(slice);
    const wanted = endpointsOf(slice);
    const write = writeOf("endpointslices", slice);
    const seen = this.#slices.get(key);
    const isThere = wanted.length > 0 && wanted.every((endpoint) => served.get(service)?.endpoints.has(endpoint));
    if (isThere) {
      if (seen?.write !== write) this.#slices.set(key, { write, at: this.#book.now, misses: 0 });
      else seen.misses = 0;
      return;
    }
    if (seen === undefined || seen.write !== write) return;
    const { restoredAt } = this.#book;
    const other = [this.#book.absent("services", service), this.#book.absent("endpointslices", key), restoredAt];
    if (other.some((at) => at >= seen.at)) this.#slices.delete(key);
    // One look may fall between two stores.
    else if (++seen.misses === 2) this.wrong.push(`endpoints of ${key} withdrawn, and they were there all the time`);
  }
}

const keyOf = ({ metadata }: ApiObject): string => `${metadata.namespace}/${metadata.name}`;
