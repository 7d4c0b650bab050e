// SPDX-License-Identifier: Apache-2.0
// The table kube-proxy v1.36 would have in nftables mode for a set of Services, as input of nft -f: same base chains and
// priorities, maps, sets and rules; one verdict map lookup finds the Service, one number generator the endpoint.

import { CLUSTER_CIDR } from "./bed.ts";
import { shortHash } from "./rules-iptables.ts";
import { type BenchService, NAMESPACE } from "./services.ts";

const MARK = "0x00004000";
const SERVICE_CIDR = "10.96.0.0/16";
const TUPLE = "ip daddr . meta l4proto . th dport";

const top = (nodeAddress: string): string => `add table ip kube-proxy { comment "rules for kube-proxy"; }
add chain ip kube-proxy filter-prerouting-pre-dnat { type filter hook prerouting priority -110; }
add chain ip kube-proxy filter-output-pre-dnat { type filter hook output priority -110; }
add chain ip kube-proxy filter-input { type filter hook input priority 0; }
add chain ip kube-proxy filter-forward { type filter hook forward priority 0; }
add chain ip kube-proxy filter-output { type filter hook output priority 0; }
add chain ip kube-proxy nat-prerouting { type nat hook prerouting priority -100; }
add chain ip kube-proxy nat-output { type nat hook output priority -100; }
add chain ip kube-proxy nat-postrouting { type nat hook postrouting priority 100; }
add chain ip kube-proxy nodeport-endpoints-check
add chain ip kube-proxy service-endpoints-check
add chain ip kube-proxy firewall-check
add chain ip kube-proxy services
add chain ip kube-proxy masquerading
add chain ip kube-proxy cluster-ips-check
add chain ip kube-proxy reject-chain { comment "helper for @no-endpoint-services / @no-endpoint-nodeports"; }
add set ip kube-proxy hairpin-connections { type ipv4_addr . ipv4_addr . inet_proto . inet_service; comment "service hairpin connections"; }
add set ip kube-proxy cluster-ips { type ipv4_addr; comment "Active ClusterIPs"; }
add set ip kube-proxy nodeport-ips { type ipv4_addr; comment "IPs that accept NodePort traffic"; }
add map ip kube-proxy no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict; comment "vmap to drop or reject packets to services with no endpoints"; }
add map ip kube-proxy no-endpoint-nodeports { type inet_proto . inet_service : verdict; comment "vmap to drop or reject packets to service nodeports with no endpoints"; }
add map ip kube-proxy firewall-ips { type ipv4_addr . inet_proto . inet_service : verdict; comment "destinations that are subject to LoadBalancerSourceRanges"; }
add map ip kube-proxy service-ips { type ipv4_addr . inet_proto . inet_service : verdict; comment "ClusterIP, ExternalIP and LoadBalancer IP traffic"; }
add map ip kube-proxy service-nodeports { type inet_proto . inet_service : verdict; comment "NodePort traffic"; }
add element ip kube-proxy nodeport-ips { ${nodeAddress} }
add rule ip kube-proxy filter-input ct state new jump nodeport-endpoints-check
add rule ip kube-proxy filter-input ct state new jump service-endpoints-check
add rule ip kube-proxy filter-forward ct state new jump service-endpoints-check
add rule ip kube-proxy filter-output ct state new jump service-endpoints-check
add rule ip kube-proxy filter-prerouting-pre-dnat ct state new jump firewall-check
add rule ip kube-proxy filter-output-pre-dnat ct state new jump firewall-check
add rule ip kube-proxy nat-output jump services
add rule ip kube-proxy nat-prerouting jump services
add rule ip kube-proxy nat-postrouting jump masquerading
add rule ip kube-proxy filter-forward ct state new jump cluster-ips-check
add rule ip kube-proxy filter-output ct state new jump cluster-ips-check
add rule ip kube-proxy masquerading mark and ${MARK} != 0 mark set mark xor ${MARK} masquerade fully-random
add rule ip kube-proxy masquerading ct status dnat ip saddr . ip daddr . meta l4proto . th dport @hairpin-connections masquerade fully-random
add rule ip kube-proxy cluster-ips-check ip daddr @cluster-ips reject comment "Reject traffic to invalid ports of ClusterIPs"
add rule ip kube-proxy cluster-ips-check ip daddr { ${SERVICE_CIDR} } drop comment "Drop traffic to unallocated ClusterIPs"
add rule ip kube-proxy reject-chain reject
add rule ip kube-proxy service-endpoints-check ${TUPLE} vmap @no-endpoint-services
add rule ip kube-proxy nodeport-endpoints-check ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports
add rule ip kube-proxy firewall-check ${TUPLE} vmap @firewall-ips
add rule ip kube-proxy services ip daddr @cluster-ips ip saddr != ${CLUSTER_CIDR} mark set mark or ${MARK} comment "masquerade clusterIP traffic from outside cluster"
add rule ip kube-proxy services ${TUPLE} vmap @service-ips
add rule ip kube-proxy services ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports`;

interface Names {
  readonly chain: string;
  readonly endpoint: (address: string) => string;
}

function namesOf(service: BenchService): Names {
  const base = `${NAMESPACE}/${service.name}/${service.protocol.toLowerCase()}/p`;
  const hashed = (text: string): string => `${shortHash(text, 8)}-${text}`;
  return {
    chain: `service-${hashed(base)}`,
    endpoint: (address) => hashed(`${base}__${address}/${service.targetPort}`),
  };
}

/** With affinity: a chain and a set of clients for each endpoint, as one rule an endpoint and one for new clients. */
function affinityRules(service: BenchService, names: Names): string[] {
  const ends = service.endpoints.map((address) => ({ address, name: names.endpoint(address) }));
  const protocol = service.protocol.toLowerCase();
  const table = "ip kube-proxy";
  return [
    ...ends.flatMap(({ name }) => [
      `add chain ${table} endpoint-${name}`,
      `add set ${table} affinity-${name} { type ipv4_addr; flags dynamic,timeout; timeout ${service.affinitySec}s; }`,
    ]),
    ...ends.map(({ name }) => `add rule ${table} ${names.chain} ip saddr @affinity-${name} goto endpoint-${name}`),
    `add rule ${table} ${names.chain} numgen random mod ${ends.length} vmap { ${ends
      .map(({ name }, n) => `${n} : goto endpoint-${name}`)
      .join(", ")} }`,
    ...ends.flatMap(({ address, name }) => [
      `add rule ${table} endpoint-${name} update @affinity-${name} { ip saddr }`,
      `add rule ${table} endpoint-${name} meta l4proto ${protocol} dnat to ${address}:${service.targetPort}`,
    ]),
  ];
}

function dispatchRule(service: BenchService, names: Names): string {
  const targets = service.endpoints.map((address, n) => `${n} : ${address} . ${service.targetPort}`).join(", ");
  const pick = `numgen random mod ${service.endpoints.length} map { ${targets} }`;
  return `add rule ip kube-proxy ${names.chain} meta l4proto ${service.protocol.toLowerCase()} dnat ip addr . port to ${pick}`;
}

/** Input of nft -f for these Services on a node with this primary address. */
export function nftablesRules(services: readonly BenchService[], nodeAddress: string): string {
  const lines = [top(nodeAddress)];
  for (const service of services) {
    const names = namesOf(service);
    const key = `${service.clusterIp} . ${service.protocol.toLowerCase()} . ${service.port}`;
    lines.push(`add chain ip kube-proxy ${names.chain}`);
    lines.push(`add element ip kube-proxy cluster-ips { ${service.clusterIp} }`);
    lines.push(`add element ip kube-proxy service-ips { ${key} : goto ${names.chain} }`);
    if (service.affinitySec > 0) lines.push(...affinityRules(service, names));
    else lines.push(dispatchRule(service, names));
  }
  return `${lines.join("\n")}\n`;
}
