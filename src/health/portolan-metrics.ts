// SPDX-License-Identifier: Apache-2.0
// portolan's own metrics: what is programmed and what is not, how full the maps are, who is connected to what, how fresh
// it all is. Nothing is counted twice: each scrape reads what the stages hold.

import type { MapFill, PendingUnit, ProgrammerStatus } from "../program/status.ts";
import { Counter, Gauge, type Registry } from "./prometheus.ts";
import { FAMILY_NAME } from "./proxy-health.ts";
import { ServiceConnections } from "./service-connections.ts";

/** What a scrape reads. Functions are asked each time. */
export interface AgentFigures {
  readonly version: string;
  /** Null until the datapath is in hand. */
  readonly programmer: () => ProgrammerStatus | null;
  /** Service key and TCP connections of each unit that has a backend in the kernel. */
  readonly connections: () => Iterable<readonly [service: string, connections: number]>;
  /** What the programs did, by reason. */
  readonly verdicts: () => ReadonlyMap<string, bigint>;
  readonly source: () => SourceFigures;
  readonly objects: () => Readonly<Record<"services" | "endpointslices" | "endpoints", number>>;
  /** Objects or parts of them that are not accepted, by kind. */
  readonly problems: () => ReadonlyMap<string, number>;
  /** Unix seconds of the last Service or EndpointSlice event; 0 before. */
  readonly lastEventSec: () => number;
  /** How late timers came while there was something to do, since the first sync. */
  readonly loopDelay: () => { readonly p999Ms: number; readonly maxMs: number };
  readonly audit: () => AuditFigures;
  readonly deadPeers: () => DeadPeerFigures;
  readonly events: () => Readonly<Record<"sent" | "refused" | "dropped", number>>;
}

export interface SourceFigures {
  readonly connected: boolean;
  /** Seconds since it was last heard; since the start if it never was. */
  readonly ageSec: number;
  /** By name, as "missed_events". */
  readonly counters: Readonly<Record<string, number>>;
}

/** What was compared with the kernel, and what somebody else had changed there. */
export interface AuditFigures {
  readonly audits: number;
  /** Mended since the start, by kind of damage. */
  readonly repaired: Readonly<Record<string, number>>;
  /** Damage that is still there. */
  readonly failed: number;
  /** Unix milliseconds; 0: none yet. */
  readonly lastMs: number;
}

/** Sockets connected to endpoints that serve no more. */
export interface DeadPeerFigures {
  readonly ended: Readonly<Record<4 | 6, number>>;
  readonly stranded: number;
  readonly failedSends: number;
}

/** "pt_frontends" of "frontends". */
const mapName = (fill: string): string => (fill === "sourceRanges" ? "pt_src_ranges" : `pt_${fill}`);

/** Makers of families that are filled at each scrape. */
interface Makers {
  gauge(name: string, help: string, labels: readonly string[], fill: Fill): void;
  counter(name: string, help: string, labels: readonly string[], fill: Fill): void;
}

/** Sets every value there is now. */
type Fill = (set: (labels: Record<string, string>, value: number) => void) => void | Promise<void>;

/** What it answers is to be called before each scrape: the source's counters have the names that the source gives them. */
export function registerPortolanMetrics(registry: Registry, figures: AgentFigures): () => void {
  const makers = makersOf(registry);
  const version = new Gauge({
    name: "portolan_build_info",
    help: "Version of portolan; always 1.",
    labelNames: ["version"],
    registers: [registry],
  });
  version.set({ version: figures.version }, 1);
  registerUnits(makers, figures);
  registerMaps(makers, figures);
  registerTraffic(makers, figures);
  registerSource(makers, figures);
  registerRepairs(makers, figures);
  const delay = "How late the event loop came to what was due, while there was something to do, since the first sync";
  makers.gauge("event_loop_delay_max_seconds", `${delay}: at most.`, [], (set) => {
    set({}, figures.loopDelay().maxMs / 1_000);
  });
  makers.gauge("event_loop_delay_p999_seconds", `${delay}: in 999 of 1,000 cases.`, [], (set) => {
    set({}, figures.loopDelay().p999Ms / 1_000);
  });
  makers.counter("events_total", "Events for the API server, by what became of them.", ["result"], (set) => {
    for (const [result, value] of Object.entries(figures.events())) set({ result }, value);
  });
  return sourceCounters(makers, figures);
}

function makersOf(registry: Registry): Makers {
  const options = (name: string, help: string, labelNames: readonly string[]) => {
    return { name: `portolan_${name}`, help, labelNames, registers: [registry] };
  };
  return {
    gauge(name, help, labels, fill) {
      new Gauge({
        ...options(name, help, labels),
        async collect() {
          this.reset();
          await fill((values, value) => this.set(values, value));
        },
      });
    },
    counter(name, help, labels, fill) {
      new Counter({
        ...options(name, help, labels),
        async collect() {
          this.reset();
          await fill((values, value) => this.inc(values, value));
        },
      });
    },
  };
}

function registerUnits({ gauge }: Makers, { programmer, objects, problems }: AgentFigures): void {
  gauge("units", "ServicePorts, one for each address family, that the kernel has.", [], (set) => {
    set({}, programmer()?.units ?? 0);
  });
  gauge("units_recovered", "Units found in the maps at the start that nothing asked for yet.", [], (set) => {
    set({}, programmer()?.recovered ?? 0);
  });
  const pending = "Units that are not as they are to be: no room, a failed write, or a removal that failed.";
  gauge("units_pending", pending, ["reason"], (set) => {
    const counts = { capacity: 0, write: 0, removal: 0 };
    for (const unit of programmer()?.pending ?? []) counts[reasonClass(unit)]++;
    for (const [reason, count] of Object.entries(counts)) set({ reason }, count);
  });
  gauge("objects", "Objects of the cluster that the agent holds.", ["kind"], (set) => {
    for (const [kind, count] of Object.entries(objects())) set({ kind }, count);
  });
  gauge("problems", "Objects, or parts of them, that are not accepted.", ["kind"], (set) => {
    for (const [kind, count] of problems()) set({ kind }, count);
  });
}

const reasonClass = ({ action, capacity }: PendingUnit) =>
  action === "remove" ? "removal" : capacity ? "capacity" : "write";

function registerMaps({ gauge, counter }: Makers, { programmer }: AgentFigures): void {
  const fill = (): [string, MapFill][] => Object.entries(programmer()?.fill ?? {});
  gauge("map_entries", "Entries in use in a map.", ["map"], (set) => {
    for (const [name, { used }] of fill()) set({ map: mapName(name) }, used);
  });
  gauge("map_capacity", "Entries that a map has room for.", ["map"], (set) => {
    for (const [name, { capacity }] of fill()) set({ map: mapName(name) }, capacity);
  });
  gauge("backends_quarantined", "Backend ids that wait until nobody can see them any more.", [], (set) => {
    set({}, programmer()?.quarantined ?? 0);
  });
  gauge("cleanup_failing", "1 while something that is out of use cannot be freed.", [], (set) => {
    set({}, (programmer()?.failure ?? null) === null ? 0 : 1);
  });
  counter("map_writes_total", "Writes to the maps.", [], (set) => set({}, programmer()?.writes ?? 0));
  counter("applies_total", "Rounds of programming.", [], (set) => set({}, programmer()?.applies ?? 0));
  counter("grace_periods_total", "Grace periods waited for.", [], (set) => set({}, programmer()?.graces ?? 0));
}

function registerTraffic({ gauge, counter }: Makers, { connections, verdicts }: AgentFigures): void {
  const perService = new ServiceConnections();
  const help =
    "Open TCP connections through this node's sockets, by Service: those with the most, all others as one without a name.";
  gauge("service_connections", help, ["namespace", "service"], async (set) => {
    for (const [service, count] of await perService.read(connections())) {
      const [namespace = "", name = ""] = service.split("/");
      set({ namespace, service: name }, count);
    }
  });
  counter("socket_verdicts_total", "What the socket programs did, by reason.", ["verdict"], (set) => {
    for (const [verdict, count] of verdicts()) set({ verdict }, Number(count));
  });
}

function registerSource(makers: Makers, { source, lastEventSec }: AgentFigures): void {
  makers.gauge("source_connected", "1 while the source of Services can be reached.", [], (set) => {
    set({}, source().connected ? 1 : 0);
  });
  const age = "Seconds since anything was heard from the source of Services; since the start if nothing ever was.";
  makers.gauge("state_age_seconds", age, [], (set) => set({}, source().ageSec));
  const last = "Unix time of the last Service or EndpointSlice event.";
  makers.gauge("last_event_timestamp_seconds", last, [], (set) => set({}, lastEventSec()));
}

/** Makes a family of each counter that has no family yet. */
function sourceCounters({ counter }: Makers, { source }: AgentFigures): () => void {
  const known = new Set<string>();
  return () => {
    for (const name of Object.keys(source().counters)) {
      if (known.has(name)) continue;
      known.add(name);
      const help = `The source's counter of ${name.replaceAll("_", " ")}.`;
      counter(`source_${name}_total`, help, [], (set) => set({}, source().counters[name] ?? 0));
    }
  };
}

function registerRepairs({ gauge, counter }: Makers, { audit, deadPeers }: AgentFigures): void {
  counter("audits_total", "Comparisons of the maps and pins with what was programmed.", [], (set) => {
    set({}, audit().audits);
  });
  const repaired = "What somebody else had changed in maps and pins, and was mended, by kind.";
  counter("audit_repaired_total", repaired, ["kind"], (set) => {
    for (const [kind, count] of Object.entries(audit().repaired)) set({ kind }, count);
  });
  gauge("audit_damage", "Damage that the last audit found and could not mend.", [], (set) => set({}, audit().failed));
  gauge("audit_last_timestamp_seconds", "Unix time of the end of the last audit; 0 before.", [], (set) => {
    set({}, audit().lastMs / 1_000);
  });
  const ended = "Sockets that were ended because the endpoint they were connected to serves no more.";
  counter("dead_peers_ended_total", ended, ["ip_family"], (set) => {
    for (const family of [4, 6] as const) set({ ip_family: FAMILY_NAME[family] }, deadPeers().ended[family]);
  });
  const stranded = "Sockets connected to endpoints that serve no more, and not ended yet.";
  gauge("dead_peers_stranded", stranded, [], (set) => set({}, deadPeers().stranded));
  const sends = "Datagrams to endpoints that serve no more that were made to fail.";
  counter("dead_peers_failed_sends_total", sends, [], (set) => set({}, deadPeers().failedSends));
}
