// SPDX-License-Identifier: Apache-2.0
// Puts together what ends sockets of lost endpoints on this node, in the best ways there are, and says which those are;
// and what looks after the records of sockets that ended by themselves unheard.

import { BpfError } from "libbpf-ts";
import type { Logger } from "pino";
import type { Config, MapSizes } from "../../config/schema.ts";
import { FlowTable } from "../../datapath/flows.ts";
import { killObject, overflowObject, quenchObject } from "../../datapath/object-file.ts";
import type { BackendRow } from "../../datapath/port.ts";
import type { Programs } from "../../datapath/programs.ts";
import { Quench } from "../../datapath/quench.ts";
import { OverflowList, SocketIterators } from "../../datapath/socket-iterators.ts";
import { StaleRecords } from "../../datapath/stale-records.ts";
import type { FindOwner } from "../../program/serving.ts";
import { DeadPeers } from "./dead-peers.ts";
import { FailingSends, HOLD_MS } from "./failing-sends.ts";
import { listSockets, RecordSweep } from "./record-sweep.ts";
import { SocketEnder } from "./socket-ender.ts";
import { type DeadPeerWay, type DeadPeerWays, deadPeerWays } from "./ways.ts";

export interface DeadPeersParts {
  readonly config: Pick<Config, "deadPeers"> & { readonly mapSizes: Pick<MapSizes, "sockets"> };
  readonly cgroup: string;
  readonly programs: Pick<Programs, "object">;
  readonly ownerOf: FindOwner;
  /** A backend's row, also right after it ceased to serve. */
  readonly backend: (id: number) => BackendRow;
  readonly log: Logger;
  /** Left out: the best there are. */
  readonly ways?: DeadPeerWays;
}

/** What it opened is closed when it is disposed of. */
export interface OpenDeadPeers extends AsyncDisposable {
  readonly deadPeers: DeadPeers;
}

/** Throws BpfError or LayoutError. */
export function openDeadPeers(parts: DeadPeersParts): OpenDeadPeers {
  const { config, programs, log, backend } = parts;
  const ways = parts.ways ?? deadPeerWays(config);
  using made = new DisposableStack();
  const map = (name: string) => programs.object.map(name);
  using sockets = map("pt_sockets");
  using active = map("pt_active");
  using btf = programs.object.btf();
  const table = made.use(new FlowTable({ sockets, active }, btf));
  const iterators = ways.here === "iterators" ? made.use(new SocketIterators(killObject())) : null;
  const sends = new FailingSends(openQuench(parts), HOLD_MS);
  made.defer(() => sends.stop());
  const everywhere = endsSockets(ways.elsewhere);
  const ender = new SocketEnder({ able: endsSockets(ways.here), iterators, everywhere });
  const overflow = ways.lists ? made.use(new OverflowList(overflowObject())) : null;
  const storage = made.use(map("pt_sockets_ovf"));
  const listOverflow = overflow === null ? null : () => overflow.records(storage);
  const deadPeers = new DeadPeers({ ...parts, ways, table, listOverflow, ender, sends, tcp: config.deadPeers.tcp });
  const records = made.use(new StaleRecords({ sockets, active, generation: (id) => backend(id).generation }, btf));
  const sweep = new RecordSweep({ records, list: listSockets, log });
  if (everywhere) sweep.start();
  const { here, elsewhere, reasons } = ways;
  log.info({ here, elsewhere, reasons, tcp: config.deadPeers.tcp }, "sockets of endpoints that are gone");
  const opened = made.move();
  return {
    deadPeers,
    async [Symbol.asyncDispose]() {
      await deadPeers.stop();
      await sweep[Symbol.asyncDispose]();
      opened.dispose();
    },
  };
}

const endsSockets = (way: DeadPeerWay): boolean => way === "iterators" || way === "sock-diag";

/** Null: the kernel does not take the program. */
function openQuench({ config, cgroup, programs, log }: DeadPeersParts): Quench | null {
  try {
    const constants = { sockets_mask: config.mapSizes.sockets - 1 };
    const maps = (name: string) => programs.object.map(name);
    return new Quench({ objectFile: quenchObject(), cgroup, maps, constants });
  } catch (error) {
    if (!(error instanceof BpfError)) throw error;
    log.warn({ reason: error.message }, "sends to endpoints that are gone cannot be failed");
    return null;
  }
}
