// SPDX-License-Identifier: Apache-2.0
// What an agent says of itself: the answer to GET /v1/status, and what `portolan status -o json` prints under "agent".

import type { NodeFacts, Problem } from "../model/types.ts";
import type { ProgrammerStatus } from "../program/status.ts";
import type { SourceStatus } from "../source/source.ts";
import type { AuditReport } from "./audit.ts";
import type { DeadPeersStatus } from "./dead-peers/dead-peers.ts";
import type { LatencyReport } from "./latency.ts";
import type { LoopDelayReport } from "./loop-delay.ts";
import type { ServerAddresses } from "./servers.ts";

export interface AgentReport {
  readonly pid: number;
  readonly version: string;
  readonly node: string;
  /** RFC 3339. */
  readonly startedAt: string;
  readonly uptimeSec: number;
  /** Objects have come once and are programmed. */
  readonly synced: boolean;
  /** What is still to come before that, in words; null once it is. */
  readonly waitsFor: string | null;
  /** Seconds from the start to that; null before. */
  readonly syncSec: number | null;
  readonly paths: {
    readonly bpffs: string;
    readonly cgroup: string;
    readonly runDir: string;
    readonly stateDir: string;
  };
  readonly source: Omit<SourceStatus, "lastHeardNs"> & {
    readonly lastHeardSecAgo: number | null;
    /** RFC 3339; null while it can be reached. */
    readonly awaySince: string | null;
  };
  readonly servers: ServerAddresses;
  readonly objects: { readonly services: number; readonly endpointSlices: number; readonly endpoints: number };
  readonly programmer: ProgrammerStatus;
  /** From a watch event's bytes to the maps, since the first sync. */
  readonly latency: LatencyReport;
  /** For how long the event loop was held up, while there was anything to do. */
  readonly loopDelay: LoopDelayReport;
  readonly audit: AuditReport;
  /** Sockets whose endpoint serves no more. */
  readonly deadPeers: DeadPeersStatus;
  readonly problems: readonly Problem[];
  /** What preflight and start-up warned of. */
  readonly warnings: readonly string[];
  /** What the Node object says that is acted on. */
  readonly nodeFacts: NodeFacts;
  /** Where the API server's ClusterIPs come from, canonical text. */
  readonly serviceCidrs: readonly string[];
  /** Addresses on the devices of this node, canonical text. */
  readonly deviceAddresses: readonly string[];
  readonly reservedNodePorts: number;
  /** NodePorts that a process of the host held already: "TCP 30080". */
  readonly heldNodePorts: readonly string[];
  readonly memory: { readonly rssBytes: number; readonly heapUsedBytes: number };
}
