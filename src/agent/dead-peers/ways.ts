// SPDX-License-Identifier: Apache-2.0
// How this node can get at sockets whose endpoint is gone: what the kernel, the capabilities and the configuration allow.

import type { Config } from "../../config/schema.ts";
import { killObject, overflowObject, quenchObject } from "../../datapath/object-file.ts";
import { quenchProblem } from "../../datapath/quench.ts";
import { canListOverflow, iteratorProblem } from "../../datapath/socket-iterators.ts";
import { PROTOCOL } from "../../model/types.ts";
import { ownCapabilities } from "../../node/kernel.ts";
import { seesEveryProcess } from "../../node/netns.ts";
import { sockDiagProblem } from "../../node/sock-diag.ts";

/**
 * "iterators" and "sock-diag" end sockets; "failing-sends" lets what they send to such an endpoint fail, for UDP and for
 * some minutes; "none".
 */
export type DeadPeerWay = "iterators" | "sock-diag" | "failing-sends" | "none";

export interface DeadPeerWays {
  /** In the node's own network namespace. */
  readonly here: DeadPeerWay;
  /** In all others: the pods'. */
  readonly elsewhere: DeadPeerWay;
  /** Whether the records in sockets' own storage can be listed. */
  readonly lists: boolean;
  /** Why it is no better way; empty if it is the best. */
  readonly reasons: readonly string[];
}

export function deadPeerWays({ deadPeers }: Pick<Config, "deadPeers">): DeadPeerWays {
  const iterators = iteratorProblem(killObject());
  const diag = sockDiagProblem(PROTOCOL.UDP);
  const ends = iterators === null ? "iterators" : diag === null ? "sock-diag" : null;
  const closed = namespacesClosed(deadPeers.otherNamespaces);
  const quench = quenchProblem(quenchObject());
  const tells = quench === null ? "failing-sends" : "none";
  const here = ends ?? tells;
  const elsewhere = closed === null ? here : tells;
  const hidden = closed === null && !seesEveryProcess() ? "pods are found by /run/netns alone: no hostPID" : null;
  const reasons = [iterators, ends === null ? diag : null, closed, hidden, quench];
  const lists = canListOverflow(overflowObject());
  return { here, elsewhere, lists, reasons: reasons.filter((reason) => reason !== null) };
}

function namespacesClosed(wanted: Config["deadPeers"]["otherNamespaces"]): string | null {
  if (wanted === "never") return "deadPeers.otherNamespaces is never";
  return ownCapabilities().has("SYS_ADMIN") ? null : "CAP_SYS_ADMIN is missing";
}

const DOES: Readonly<Record<DeadPeerWay, string>> = {
  iterators: "ended by iterators",
  "sock-diag": "ended by sock_diag",
  "failing-sends": "told by failing sends",
  none: "left alone",
};

/** For people: "sockets of the host ended by sock_diag, of pods told by failing sends". */
export function describeWays({ here, elsewhere }: DeadPeerWays): string {
  return here === elsewhere
    ? `sockets are ${DOES[here]}`
    : `sockets of the host are ${DOES[here]}, of pods ${DOES[elsewhere]}`;
}
