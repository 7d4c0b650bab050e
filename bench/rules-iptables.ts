// SPDX-License-Identifier: Apache-2.0
// The rules kube-proxy v1.36 would have in iptables mode for a set of Services, as input of iptables-restore: same
// tables, chains, order of matches, masquerade marks, and from 1,001 endpoints on the same omission of comments.

import { createHash } from "node:crypto";
import { CLUSTER_CIDR } from "./bed.ts";
import { type BenchService, NAMESPACE } from "./services.ts";

const MARK = "0x00004000";
/** More endpoints than this, and kube-proxy leaves the comments of the per-Service chains out. */
const LARGE_CLUSTER = 1_000;
const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/** RFC 4648 base 32 of the SHA-256 of a text, the first `length` characters. */
export function shortHash(text: string, length: number): string {
  const digest = createHash("sha256").update(text).digest();
  let bits = 0n;
  for (const byte of digest.subarray(0, 16)) bits = (bits << 8n) | BigInt(byte);
  let encoded = "";
  for (let shift = 123n; encoded.length < length; shift -= 5n) encoded += ALPHABET[Number((bits >> shift) & 31n)];
  return encoded;
}

const comment = (text: string): string => `-m comment --comment "${text}"`;

// kube-proxy watches for a flush of the tables by a canary chain in each; thereby there is a mangle table, with its hooks.
const MANGLE_AND_FILTER = `*mangle
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-PROXY-CANARY - [0:0]
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-CANARY - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-SERVICES - [0:0]
-A INPUT -j KUBE-FIREWALL
-A INPUT -m conntrack --ctstate NEW ${comment("kubernetes load balancer firewall")} -j KUBE-PROXY-FIREWALL
-A INPUT ${comment("kubernetes health check service ports")} -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW ${comment("kubernetes externally-visible service portals")} -j KUBE-EXTERNAL-SERVICES
-A FORWARD -m conntrack --ctstate NEW ${comment("kubernetes load balancer firewall")} -j KUBE-PROXY-FIREWALL
-A FORWARD ${comment("kubernetes forwarding rules")} -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW ${comment("kubernetes service portals")} -j KUBE-SERVICES
-A FORWARD -m conntrack --ctstate NEW ${comment("kubernetes externally-visible service portals")} -j KUBE-EXTERNAL-SERVICES
-A OUTPUT -j KUBE-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW ${comment("kubernetes load balancer firewall")} -j KUBE-PROXY-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW ${comment("kubernetes service portals")} -j KUBE-SERVICES
-A KUBE-FIREWALL ${comment("block incoming localnet connections")} -d 127.0.0.0/8 ! -s 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD ${comment("kubernetes forwarding rules")} -m mark --mark ${MARK}/${MARK} -j ACCEPT
-A KUBE-FORWARD ${comment("kubernetes forwarding conntrack rule")} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT`;

const NAT_CHAINS = `*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-PROXY-CANARY - [0:0]
:KUBE-SERVICES - [0:0]`;

const NAT_TOP = `-A PREROUTING ${comment("kubernetes service portals")} -j KUBE-SERVICES
-A OUTPUT ${comment("kubernetes service portals")} -j KUBE-SERVICES
-A POSTROUTING ${comment("kubernetes postrouting rules")} -j KUBE-POSTROUTING
-A KUBE-POSTROUTING -m mark ! --mark ${MARK}/${MARK} -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark ${MARK}
-A KUBE-POSTROUTING ${comment("kubernetes service traffic requiring SNAT")} -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark ${MARK}`;

const NAT_LAST = `-A KUBE-SERVICES ${comment("kubernetes service nodeports; NOTE: this must be the last rule in this chain")} -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS`;

interface Lines {
  readonly chains: string[];
  readonly services: string[];
  readonly rules: string[];
}

/** The chain of one Service and those of its endpoints. */
function writeService(service: BenchService, large: boolean, out: Lines): void {
  const protocol = service.protocol.toLowerCase();
  const name = `${NAMESPACE}/${service.name}:p`;
  const chain = `KUBE-SVC-${shortHash(name + protocol, 16)}`;
  const destination = `-m ${protocol} -p ${protocol} -d ${service.clusterIp} --dport ${service.port}`;
  const ends = service.endpoints.map((address) => {
    const target = `${address}:${service.targetPort}`;
    const note = large ? "" : `${comment(`${name} -> ${target}`)} `;
    return { address, target, note, chain: `KUBE-SEP-${shortHash(name + protocol + target, 16)}` };
  });
  out.chains.push(`:${chain} - [0:0]`, ...ends.map((end) => `:${end.chain} - [0:0]`));
  out.services.push(`-A KUBE-SERVICES ${comment(`${name} cluster IP`)} ${destination} -j ${chain}`);
  out.rules.push(`-A ${chain} ${comment(`${name} cluster IP`)} ${destination} ! -s ${CLUSTER_CIDR} -j KUBE-MARK-MASQ`);
  if (service.affinitySec > 0) {
    for (const end of ends) {
      const recent = `-m recent --name ${end.chain} --rcheck --seconds ${service.affinitySec} --reap`;
      out.rules.push(`-A ${chain} ${end.note}${recent} -j ${end.chain}`);
    }
  }
  ends.forEach((end, n) => {
    const left = ends.length - n;
    const chance = left > 1 ? `-m statistic --mode random --probability ${(1 / left).toFixed(10)} ` : "";
    out.rules.push(`-A ${chain} ${end.note}${chance}-j ${end.chain}`);
  });
  const note = large ? "" : `${comment(name)} `;
  for (const end of ends) {
    const recent = service.affinitySec > 0 ? `-m recent --name ${end.chain} --set ` : "";
    out.rules.push(`-A ${end.chain} ${note}-s ${end.address} -j KUBE-MARK-MASQ`);
    out.rules.push(
      `-A ${end.chain} ${note}${recent}-m ${protocol} -p ${protocol} -j DNAT --to-destination ${end.target}`,
    );
  }
}

/** Input of iptables-restore (nft or legacy) for these Services, dispatched in the order given. */
export function iptablesRules(services: readonly BenchService[]): string {
  const endpoints = services.reduce((sum, service) => sum + service.endpoints.length, 0);
  const out: Lines = { chains: [], services: [], rules: [] };
  for (const service of services) writeService(service, endpoints > LARGE_CLUSTER, out);
  const parts = [
    [MANGLE_AND_FILTER, NAT_CHAINS],
    out.chains,
    [NAT_TOP],
    out.services,
    out.rules,
    [NAT_LAST, "COMMIT", ""],
  ];
  return parts.map((lines) => lines.join("\n")).join("\n");
}
