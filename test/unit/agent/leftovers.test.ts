// SPDX-License-Identifier: Apache-2.0

import type { Logger } from "pino";
import { expect, test } from "vitest";
import { Leftovers } from "../../../src/agent/leftovers.ts";
import { Store } from "../../../src/model/store.ts";
import type { UnitStatus } from "../../../src/program/status.ts";
import { decodeEndpointSlice, decodeService } from "../../../src/source/decode/decode.ts";
import type { Source } from "../../../src/source/source.ts";
import { service, slice } from "../source/objects.ts";

/** Pinned units, each with one backend, of Services shop/s0, shop/s1, … */
function pinned(count: number, backends = 1): UnitStatus[] {
  return Array.from(
    { length: count },
    (_, i) => ({ state: { name: `shop/s${i}:http`, backendIds: new Uint32Array(backends) } }) as unknown as UnitStatus,
  );
}

/** A store of so many of those Services, with the endpoints of so many. */
function stored(services: number, withEndpoints = services): Store {
  const store = new Store();
  for (let i = 0; i < services; i++) {
    store.service(`shop/s${i}`, decodeService(service(`s${i}`)).object, 1n);
    const addresses = i < withEndpoints ? ["10.0.0.1"] : [];
    store.endpointSlice(`shop/e${i}`, decodeEndpointSlice(slice(`e${i}`, addresses, `s${i}`)).object, 1n);
  }
  return store;
}

interface Case {
  readonly units: UnitStatus[];
  readonly store: Store;
  readonly confirm?: boolean;
}

async function rereads({ units, store, confirm = true }: Case): Promise<number> {
  let count = 0;
  const source = { reread: () => Promise.resolve(void count++) } as unknown as Source;
  await new Leftovers({ source, log: { warn: () => undefined } as unknown as Logger, confirm }).settle(units, store);
  return count;
}

test.each<[string, Case]>([
  ["Services", { units: pinned(40), store: stored(19) }],
  ["all Services", { units: pinned(21), store: stored(0) }],
  ["endpoints", { units: pinned(40), store: stored(40, 19) }],
])("most %s missing: read once more", async (_, given) => {
  expect(await rereads(given)).toBe(1);
});

test.each<[string, Case]>([
  ["half of the Services missing", { units: pinned(40), store: stored(20) }],
  ["half of the endpoints missing", { units: pinned(40), store: stored(40, 20) }],
  ["units that had no endpoint before", { units: pinned(40, 0), store: stored(40, 0) }],
  ["all of very few", { units: pinned(20), store: stored(0) }],
  ["all, unconfirmed by configuration", { units: pinned(40), store: stored(0), confirm: false }],
  ["nothing pinned", { units: [], store: stored(40) }],
])("%s: believed", async (_, given) => {
  expect(await rereads(given)).toBe(0);
});

test("nothing goes on before the second read is through", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const source = { reread: () => promise } as unknown as Source;
  const log = { warn: () => undefined } as unknown as Logger;
  let settled = false;
  const settling = new Leftovers({ source, log, confirm: true }).settle(pinned(40), stored(0)).then(() => {
    settled = true;
  });
  await new Promise((next) => setImmediate(next));
  expect(settled).toBe(false);
  resolve();
  await settling;
});

test("a source that cannot be read twice is believed: a folder", async () => {
  const log = { warn: () => undefined } as unknown as Logger;
  await new Leftovers({ source: {} as Source, log, confirm: true }).settle(pinned(40), stored(0));
});
