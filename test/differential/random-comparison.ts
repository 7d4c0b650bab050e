// SPDX-License-Identifier: Apache-2.0
// One look at a world that has come to rest: what the API server says there is, what portolan's maps make of every call,
// what kube-proxy's rules do, and what the reference model says the maps should be.

import { isIPv6 } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { Maps } from "../../src/datapath/maps.ts";
import { pinPaths } from "../../src/datapath/pins.ts";
import { command } from "../support/daemon.ts";
import { mapLines } from "../support/map-lines.ts";
import { type PlainWorld, referenceLines } from "../support/reference-model.ts";
import type { World } from "../support/world.ts";
import { NODE_ADDRESSES, POD_RANGES, SECOND_ADDRESSES } from "../support/world-network.ts";
import type { ApiObject } from "./api-client.ts";
import { type Cluster, NODE, SERVICE_RANGES } from "./cluster.ts";
import { type Call, callText, type Decision, decisionText } from "./decision.ts";
import { MapDecisions } from "./map-decisions.ts";
import { plainService, plainSlice, type ServiceForm, type SliceForm } from "./plain-objects.ts";
import { PODS, randomCalls } from "./random-calls.ts";
import { RandomDifferences, type Reason } from "./random-differences.ts";
import { NAMESPACE } from "./random-services.ts";
import { parseRuleset } from "./ruleset.ts";
import { RulesetWalk } from "./ruleset-walk.ts";

/** A change of the Node alone has no mark by which its arrival could be seen, and kube-proxy may have to try twice. */
const WITHIN_MS = 60_000;
const PAUSE_MS = 250;
const MOST_TOLD = 25;

export interface Comparison {
  readonly calls: number;
  /** How often each kind of caller got each kind of answer. */
  readonly answers: ReadonlyMap<string, number>;
  readonly explained: ReadonlyMap<Reason, number>;
  readonly unexplained: readonly string[];
}

export class Comparer {
  readonly #cluster: Cluster;
  readonly #theirs: World;

  constructor(cluster: Cluster) {
    const [, theirs] = cluster.worlds;
    if (theirs === undefined) throw new Error("there is nobody to compare with");
    this.#cluster = cluster;
    this.#theirs = theirs;
  }

  /** Everything there is of the random objects. */
  async objects(): Promise<{ readonly services: ServiceForm[]; readonly slices: SliceForm[] }> {
    const { api } = this.#cluster;
    const like = (kind: string): ApiObject => ({ kind, metadata: { name: "", namespace: NAMESPACE } });
    const services = await api.list<ServiceForm>(like("Service"));
    const slices = await api.list<SliceForm>(like("EndpointSlice"));
    return { services: [...services], slices: [...slices] };
  }

  /** Looks again until nothing is unexplained, or for a minute. */
  async compare(zone: string): Promise<Comparison> {
    const { services, slices } = await this.objects();
    const world: PlainWorld = {
      node: NODE,
      zone,
      primaryAddresses: NODE_ADDRESSES,
      podRanges: POD_RANGES,
      serviceRanges: SERVICE_RANGES,
      deviceAddresses: [],
      services: services.map(plainService),
      slices: slices.map(plainSlice),
    };
    const deadline = performance.now() + WITHIN_MS;
    for (;;) {
      const found = await this.#look(world);
      if (found.unexplained.length === 0 || performance.now() > deadline) return found;
      await sleep(PAUSE_MS);
    }
  }

  async #look(world: PlainWorld): Promise<Comparison> {
    const [v4, v6] = await Promise.all([this.#rules("ip"), this.#rules("ip6")]);
    using maps = Maps.openPinned(pinPaths(this.#cluster.portolan.bpffs).maps, { readOnly: true });
    const lines = mapLines(maps).filter((line) => line.startsWith(`${NAMESPACE}/`));
    const ours = new MapDecisions(maps);
    const theirs = (call: Call): Decision => (isIPv6(call.address) ? v6 : v4).decide(call);
    const model = referenceLines(world);
    const differences = new RandomDifferences(world, model);
    const look = new Look((call, one, other) => differences.explain(call, one, other));
    look.compareLines(lines, model);
    for (const call of randomCalls(world.services)) {
      look.compareDecisions(call, { ours: ours.decide(call), theirs: theirs(call) });
      if (isUsual(call)) look.compareUnbound(call, ours.admitsUnbound(call), theirs);
    }
    return look;
  }

  async #rules(family: "ip" | "ip6"): Promise<RulesetWalk> {
    const place = { netns: this.#theirs.netns };
    const text = await command(["nft", "-j", "list", "table", family, "kube-proxy"], place);
    const local: readonly string[] = [...NODE_ADDRESSES, ...SECOND_ADDRESSES, "127.0.0.1", "::1"];
    return new RulesetWalk(parseRuleset(text), (address) => local.includes(address));
  }
}

/** Its source is the one that a socket gets which is not bound. */
const isUsual = ({ from, source }: Call): boolean => from === "pod" || NODE_ADDRESSES.some((own) => own === source);

type Explain = (call: Call, ours: Decision, theirs: Decision) => Reason | null;

/** What one look has found so far. */
class Look implements Comparison {
  readonly #explain: Explain;
  readonly answers = new Map<string, number>();
  readonly explained = new Map<Reason, number>();
  readonly unexplained: string[] = [];
  calls = 0;

  constructor(explain: Explain) {
    this.#explain = explain;
  }

  compareDecisions(call: Call, { ours, theirs }: { readonly ours: Decision; readonly theirs: Decision }): void {
    this.calls++;
    const [mine, other] = [decisionText(ours), decisionText(theirs)];
    if (mine === other) {
      count(this.answers, `${call.from}: ${ours.answer}`);
      return;
    }
    const reason = this.#explain(call, ours, theirs);
    if (reason === null) this.#tell(`${callText(call)}: portolan "${mine}", kube-proxy "${other}"`);
    else count(this.explained, reason);
  }

  /** Who is let in without an address of its own must be let in whatever address it gets. */
  compareUnbound(call: Call, admits: boolean | undefined, theirs: (call: Call) => Decision): void {
    if (admits === undefined || call.from === "elsewhere") return;
    const sources: readonly string[] = call.from === "host" ? [call.source] : PODS[isIPv6(call.address) ? 1 : 0];
    for (const source of sources) {
      const decision = theirs({ ...call, source });
      if (admits === (decision.answer !== "drop") || (call.from === "pod" && !admits)) continue;
      if (this.#explain(call, { answer: admits ? "reject" : "drop" }, decision) !== null) continue;
      this.#tell(
        `${callText(call)}, not bound: portolan ${admits ? "lets it in" : "does not"}, from ${source} kube-proxy says ${decisionText(decision)}`,
      );
    }
  }

  compareLines(maps: readonly string[], model: readonly string[]): void {
    const [have, want] = [new Set(maps), new Set(model)];
    for (const line of maps) if (!want.has(line)) this.#tell(`in the maps, not in the model: ${line}`);
    for (const line of model) if (!have.has(line)) this.#tell(`in the model, not in the maps: ${line}`);
  }

  #tell(text: string): void {
    if (this.unexplained.length < MOST_TOLD) this.unexplained.push(text);
  }
}

export function count<K>(counts: Map<K, number>, key: K, by = 1): void {
  counts.set(key, (counts.get(key) ?? 0) + by);
}
