// SPDX-License-Identifier: Apache-2.0
// DeadPeers of parts of a test's choice, on a bed.

import pino from "pino";
import { DeadPeers } from "../../src/agent/dead-peers/dead-peers.ts";
import { FailingSends, HOLD_MS } from "../../src/agent/dead-peers/failing-sends.ts";
import { SocketEnder } from "../../src/agent/dead-peers/socket-ender.ts";
import { type Flow, type FlowQuery, FlowTable } from "../../src/datapath/flows.ts";
import { killObject, overflowObject, quenchObject } from "../../src/datapath/object-file.ts";
import { Quench } from "../../src/datapath/quench.ts";
import { OverflowList, SocketIterators } from "../../src/datapath/socket-iterators.ts";
import { type DeadPeersBed, everywhere } from "./dead-peers-bed.ts";

export interface Replaced {
  /** Why listing the records in sockets' own storage fails this time; null: it does not. */
  readonly listing?: () => Error | null;
  readonly onFind?: (query: FlowQuery) => void;
  /** Before sockets are ended. */
  readonly onEnd?: (flows: readonly Flow[]) => void;
  /** Whether sockets can be ended. */
  readonly able?: boolean;
  /** Whether sends can be failed, in a table of that many places. */
  readonly quenchPlaces?: number;
  /** Left out: the bed's pt_sockets. */
  readonly table?: (parts: ConstructorParameters<typeof FlowTable>) => FlowTable;
}

export interface Begun {
  readonly deadPeers: DeadPeers;
  readonly table: FlowTable;
  /** What was logged. */
  readonly told: readonly string[];
}

export function beginWith(d: DeadPeersBed, replaced: Replaced): AsyncDisposable & Begun {
  const { listing = () => null, onFind, onEnd, able = true, quenchPlaces } = replaced;
  using made = new DisposableStack();
  const map = (name: string) => made.use(d.bed.object.map(name));
  using btf = d.bed.object.btf();
  class HeardTable extends FlowTable {
    override find(query: FlowQuery): Promise<Flow[]> {
      onFind?.(query);
      return super.find(query);
    }
  }
  class HeardEnder extends SocketEnder {
    override end(...args: Parameters<SocketEnder["end"]>): ReturnType<SocketEnder["end"]> {
      onEnd?.(args[0]);
      return super.end(...args);
    }
  }
  const open = replaced.table ?? ((parts) => new HeardTable(...parts));
  const table = made.use(open([{ sockets: map("pt_sockets"), active: map("pt_active") }, btf]));
  const list = made.use(new OverflowList(overflowObject()));
  const storage = map("pt_sockets_ovf");
  const iterators = made.use(new SocketIterators(killObject()));
  const told: string[] = [];
  const deadPeers = new DeadPeers({
    ways: everywhere(able ? "iterators" : "failing-sends"),
    table,
    listOverflow: () => {
      const error = listing();
      return error === null ? list.records(storage) : Promise.reject(error);
    },
    ender: new HeardEnder({ able, iterators, everywhere: true }),
    sends: new FailingSends(quenchPlaces === undefined ? null : openQuench(d, quenchPlaces), HOLD_MS),
    ownerOf: d.programmer.ownerOf,
    backend: (id) => d.maps.backend(id),
    tcp: false,
    log: pino({ level: "warn" }, { write: (line) => told.push(line) }),
  });
  const opened = made.move();
  return {
    deadPeers,
    table,
    told,
    async [Symbol.asyncDispose]() {
      await deadPeers.stop();
      opened.dispose();
    },
  };
}

function openQuench({ bed }: DeadPeersBed, places: number): Quench {
  const maps = (name: string) => bed.object.map(name);
  return new Quench({ objectFile: quenchObject(), cgroup: bed.cgroup, maps, constants: { sockets_mask: places - 1 } });
}
