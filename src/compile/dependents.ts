// SPDX-License-Identifier: Apache-2.0
// Which Services have to be looked at again when something about the node changes? Few depend on more than their own
// objects, and only those are remembered.

import type { EndpointSlice, Service, ServiceKey } from "../model/types.ts";

/** Something of the node that a Service's units may depend on. */
export type Dependence = "zone" | "sourceRanges" | "externalIps";

export class Dependents {
  readonly #services: Readonly<Record<Dependence, Set<ServiceKey>>> = {
    zone: new Set(),
    sourceRanges: new Set(),
    externalIps: new Set(),
  };

  /** Remembers what this Service depends on now; undefined: it is gone. */
  set(key: ServiceKey, service: Service | undefined, slices: readonly EndpointSlice[]): void {
    this.#mark("zone", key, service !== undefined && slices.some(({ zoneHints }) => zoneHints !== null));
    this.#mark("sourceRanges", key, (service?.sourceRanges.length ?? 0) > 0);
    this.#mark("externalIps", key, (service?.externalIps.length ?? 0) > 0);
  }

  /** The Services that depend on it; the set is this object's own: read, do not keep. */
  of(dependence: Dependence): ReadonlySet<ServiceKey> {
    return this.#services[dependence];
  }

  #mark(dependence: Dependence, key: ServiceKey, depends: boolean): void {
    if (depends) this.#services[dependence].add(key);
    else this.#services[dependence].delete(key);
  }
}
