// SPDX-License-Identifier: Apache-2.0
// Sockets that do what comes to their mind, in two network namespaces, while endpoints change: whatever the order of
// calls, who answers, by which name, the records and the counts are those of the model (socket-model.ts).
// PORTOLAN_STEPS and PORTOLAN_SEED: more of it, or the same once more.

import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, onTestFailed, test } from "vitest";
import { Maps } from "../../src/datapath/maps.ts";
import { formatAddress } from "../../src/model/address.ts";
import { Programmer } from "../../src/program/programmer.ts";
import { Random } from "../support/random.ts";
import { frontend, makeUnit } from "../support/units.ts";
import { BACKENDS, Bed } from "./bed.ts";
import { FAMILIES, type Flags, LETTERS, type Letter, ModelService } from "./socket-model.ts";
import { SocketWalk } from "./socket-walk.ts";

const STEPS = Number(process.env["PORTOLAN_STEPS"] ?? 5_000);
const SEED = Number(process.env["PORTOLAN_SEED"] ?? 1);
/** With few places most sockets keep their records themselves. */
const PLACES = [1, 4, 1_024][SEED % 3] ?? 1;
const CHECK_EVERY = 25;
/** Of what was done before a failure. */
const TOLD = 40;

const SPECS = [
  { name: "default/dns:dns", protocol: 17, port: 53, hasAffinity: false, number: 1 },
  { name: "default/dns:log", protocol: 17, port: 514, hasAffinity: false, number: 1 },
  { name: "default/time:ntp", protocol: 17, port: 123, hasAffinity: true, number: 2 },
  { name: "default/web:http", protocol: 6, port: 80, hasAffinity: false, number: 1 },
  { name: "default/api:http", protocol: 6, port: 80, hasAffinity: true, number: 2 },
] as const;

let bed: Bed;
let maps: Maps;
let programmer: Programmer;
beforeAll(async () => {
  bed = await Bed.create({ sizes: { pt_sockets: PLACES, pt_udp_peers: 65_536 } });
  const server = bed.outsider("host");
  for (const family of FAMILIES) {
    for (const [i, address] of BACKENDS[family].entries()) {
      await server.do(`serve udp ${address} 5353 ${LETTERS[i]}`, `serve tcp ${address} 8080 ${LETTERS[i]}`);
    }
  }
  maps = Maps.ofObject(bed.object);
  programmer = await Programmer.start(maps, { bindGuard: () => false });
  programmer.allowDeletes();
});
afterAll(async () => {
  await programmer?.settled();
  maps?.close();
  await bed?.close();
});

const unitOf = (service: ModelService) =>
  makeUnit({
    name: service.name,
    clusterIp: service.addresses[0],
    port: service.port,
    protocol: service.protocol,
    affinitySec: service.hasAffinity ? 10_800 : 0,
    frontends: [frontend("externalIP", service.addresses[1], service.port)],
    endpoints: [...service.endpoints].map(([letter, { flags }]) => {
      const address = service.addressOf(letter);
      return `${service.family === "v6" ? `[${address}]` : address}:${service.endpointPort}/${flags}`;
    }),
  });

/** Other endpoints; now and then another Service of the same name. */
async function change(service: ModelService, random: Random, life: number): Promise<string> {
  const isAnother = random.chance(0.1);
  if (isAnother) {
    programmer.apply({ upserted: [], removed: [unitOf(service).key] });
    await programmer.settled();
    service.renew(life);
  }
  const some = random.some(LETTERS, random.pick([0, 1, 1, 2, 2, 3, 3]));
  service.change(new Map(some.map((letter): [Letter, Flags] => [letter, random.chance(0.25) ? "s" : "cs"])), life);
  programmer.apply({ upserted: [unitOf(service)], removed: [] });
  await programmer.settled();
  const now = [...service.endpoints].map(([letter, { flags }]) => `${letter}/${flags}`).join(" ");
  return `${service.key}${isAnother ? " made anew" : ""}: ${now || "nobody"}`;
}

/** Connections by Service and endpoint, those that are 0 left out. Retired ids have none. */
function countsInMaps(): Record<string, number> {
  const names = new Map(
    [...programmer.units()].map(({ state }) => [state.serviceId, `${state.name}/v${state.family}`]),
  );
  const counts: Record<string, number> = {};
  for (const id of maps.usedBackends()) {
    const { address, generation, serviceId } = maps.backend(id);
    const count = Number(maps.active(id));
    if (count === 0) continue;
    const isRetired = generation % 2 === 1;
    counts[isRetired ? `retired ${id}` : `${names.get(serviceId)} ${formatAddress(address)}`] = count;
  }
  return counts;
}

function countsInModel(walks: readonly SocketWalk[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { counted } of walks.flatMap(({ sockets }) => [...sockets])) {
    if (counted === null || !counted.service.is(counted.choice, "cs", "s")) continue;
    const key = `${counted.service.key} ${counted.service.addressOf(counted.choice.letter)}`;
    counts[key] = (counts[key] ?? 0) + 1;
  }
  return counts;
}

function check(walks: readonly SocketWalk[]): void {
  expect(countsInMaps()).toEqual(countsInModel(walks));
  const recorded = walks.flatMap(({ sockets }) => [...sockets]).filter((socket) => socket.recorded).length;
  const stored = Number(maps.active(0));
  expect(bed.records().length + stored, "records").toBe(recorded);
  const stats = bed.table.stats();
  expect([stats["RECORD_LOST"], stats["PICK_RETRY"], stats["PICK_FAILED"]]).toEqual([undefined, undefined, undefined]);
}

test(`${STEPS} steps with seed ${SEED}, ${PLACES} places for records`, { timeout: 60_000 + STEPS * 100 }, async () => {
  const random = new Random(SEED);
  const history: string[] = [];
  onTestFailed(() => console.error(history.slice(-TOLD).join("\n")));
  const services = FAMILIES.flatMap((family) => SPECS.map((spec) => new ModelService({ ...spec, family })));
  for (const service of services) history.push(await change(service, random, 0));
  const walks = (["host", "pod"] as const).map((place) => new SocketWalk({ bed, place, random, services, history }));
  try {
    for (let step = 1; step <= STEPS; step++) {
      if (random.chance(0.1)) history.push(await change(random.pick(services), random, step));
      else await random.pick(walks).step();
      if (step % CHECK_EVERY === 0) check(walks);
    }
    check(walks);
  } finally {
    for (const walk of walks) await walk.kill();
  }
  check(walks);
  expect(bed.records()).toEqual([]);
  const reasons = ["CONNECT", "CONNECT_REJECT", "SENDMSG", "SENDMSG_REJECT", "AFFINITY_HIT"];
  expect(Object.keys(bed.table.stats())).toEqual(expect.arrayContaining(reasons));
});

test("16 processes that call as fast as they can leave nothing behind", async () => {
  const random = new Random(SEED);
  const services = SPECS.map((spec) => new ModelService({ ...spec, family: "v4" }));
  const storms = (["host", "pod"] as const).map((place) =>
    bed.actor(place).do(`storm 8 ${Math.max(4_000, STEPS)} 10.96.0.1 80 10.96.0.1 53`),
  );
  const over = Promise.all(storms).then(() => true);
  let changes = 0;
  while (!(await Promise.race([over, sleep(5, false)]))) await change(random.pick(services), random, ++changes);
  await programmer.settled();
  expect([bed.records(), maps.active(0), countsInMaps()]).toEqual([[], 0n, {}]);
  expect(bed.table.stats()["RECORD_LOST"]).toBeUndefined();
});
