// SPDX-License-Identifier: Apache-2.0
// Preflight's findings about other service proxies: running ones hinder a strict start, leftovers only get a warning.

import {
  foreignPrograms,
  healthPortTaken,
  leftovers,
  legacyTables,
  PROXY_HEALTH_PORT,
  runningKubeProxies,
} from "../../node/proxies.ts";
import type { Finding } from "./finding.ts";

const TWO = "two proxies on one node answer for the same addresses, and count and refuse twice";

/** kube-proxy is a name of portolan's too, and that one removes portolan. */
const CLEANUP = "kube-proxy --cleanup with Kubernetes' own kube-proxy, or restart the node";

/** What is known to be ours: it is no other proxy. */
export interface Own {
  /** Ids of the programs of these pins. */
  readonly programs: ReadonlySet<number>;
  /** An agent of these pins runs: the health port is its. */
  readonly running: boolean;
}

/** `cgroup` null leaves out what is attached to it. */
export function otherProxies(cgroup: string | null, own: Own): Finding[] {
  const proxies = kubeProxy(healthPortTaken() && !own.running);
  const running = [...proxies, ...(cgroup === null ? [] : onCgroup(cgroup, own.programs))];
  const none: Finding = { check: "other proxies", result: "ok", found: "none is running", why: TWO, mend: null };
  // The rules of a proxy that runs are in use: nobody is to be told to delete them.
  return [...(running.length === 0 ? [none] : running), ...(proxies.length === 0 ? remains() : [])];
}

function kubeProxy(portTaken: boolean): Finding[] {
  const seen = runningKubeProxies();
  // A process whose namespace is hidden may be another node's; somebody on the health port says that it is not.
  const here = seen.filter(({ sameNetns }) => sameNetns === true || portTaken);
  const mend = "stop it first, on a cluster: kubectl -n kube-system delete daemonset kube-proxy";
  if (here.length > 0) {
    const pids = here.map(({ pid }) => pid).join(", ");
    return [{ check: "other proxies", result: "strict", found: `kube-proxy is running (pid ${pids})`, why: TWO, mend }];
  }
  if (portTaken) {
    const found = `something listens on port ${PROXY_HEALTH_PORT}, where a node's proxy answers /healthz`;
    return [
      {
        check: "other proxies",
        result: "strict",
        found,
        why: TWO,
        mend: `stop it (ss -ltnp sport = :${PROXY_HEALTH_PORT})`,
      },
    ];
  }
  return [];
}

function onCgroup(cgroup: string, ours: ReadonlySet<number>): Finding[] {
  try {
    const foreign = foreignPrograms(cgroup, ours);
    if (foreign.length === 0) return [];
    const list = foreign.map(({ id, hook, name }) => `${hook} program ${id}${name === null ? "" : ` (${name})`}`);
    const own = foreign.some(({ name }) => name?.startsWith("pt_"));
    const mend = own
      ? "another portolan serves here from pins of its own: run portolan cleanup with its --bpffs"
      : "switch off the other agent's service handling (Cilium: kubeProxyReplacement=false; Calico: connect-time load balancing)";
    return [{ check: "other proxies", result: "strict", found: `on ${cgroup}: ${list.join(", ")}`, why: TWO, mend }];
  } catch (error) {
    const found = `what is attached to ${cgroup} cannot be asked: ${(error as Error).message}`;
    return [{ check: "other proxies", result: "warning", found, why: TWO, mend: "run with CAP_NET_ADMIN" }];
  }
}

function remains(): Finding[] {
  const why =
    "rules of a proxy that is gone go on sending packets to endpoints that may be gone too; connections made through them may break with their removal";
  const findings: Finding[] = [];
  const found = leftovers();
  const tables = found.filter(({ mode }) => mode === "nftables").map(({ table }) => table);
  const chains = found.filter(({ mode }) => mode === "iptables").map(({ table }) => table);
  if (tables.length > 0) {
    const mend = tables.map((table) => `nft delete table ${table}`).join("; ");
    findings.push({ check: "leftovers", result: "warning", found: `nftables: table ${tables.join(", ")}`, why, mend });
  }
  if (chains.length > 0) {
    const mend = CLEANUP;
    findings.push({
      check: "leftovers",
      result: "warning",
      found: `KUBE-SERVICES chains in ${chains.join(", ")}`,
      why,
      mend,
    });
  }
  const legacy = legacyTables();
  if (legacy.includes("nat")) {
    const text = `legacy iptables tables are loaded (${legacy.join(", ")}) and may hold chains of kube-proxy; they are not looked into`;
    findings.push({
      check: "leftovers",
      result: "warning",
      found: text,
      why,
      mend: `if iptables-legacy-save shows KUBE- chains: ${CLEANUP}`,
    });
  }
  return findings;
}
