// SPDX-License-Identifier: Apache-2.0
// Where portolan may differ from kube-proxy's nftables mode, and where kube-proxy's iptables mode does. Anything else is
// a bug; what no longer happens has to go from here.

import type { ProtocolName, Style } from "../support/actor.ts";
import type { Caller, Check, Kind } from "../support/checks.ts";

export interface Difference {
  /** Of portolan: the first cell of its row in docs/differences.md. Of iptables mode: what the mode does. */
  readonly what: string;
  readonly kinds?: readonly Kind[];
  readonly protocol?: ProtocolName;
  readonly caller?: Caller;
  readonly styles?: readonly Style[];
  /** Names of the scenarios it is about. Default: all. */
  readonly scenarios?: RegExp;
  readonly nftables: RegExp;
  readonly other: RegExp;
  /** An outcome is chance: it need not differ in every run. */
  readonly byChance?: true;
}

const REFUSED = /^refused$/;
const SILENT = /^silent$/;
const EPERM = /^EPERM$/;
const ANSWERED = /^(\[?[0-9a-f]+[.:]|one of |the pod's)/;
/** One slice or the other has the word: kube-proxy's choice is chance. */
const TWO_SLICES = /^topology-of-an-endpoint-in-two-slices/;
/** Some of their endpoints are at addresses of Services. */
const SERVICE_ADDRESSES = /^(endpoint-becomes-cluster-ip|endpoint-in-a-service-cidr)/;

export const PORTOLAN_DIFFERS: readonly Difference[] = [
  {
    what: "a UDP datagram to a Service without endpoints, from the host",
    ...{ caller: "host", protocol: "UDP", nftables: EPERM, other: REFUSED },
  },
  {
    what: "a UDP datagram that is dropped, from the host",
    ...{ caller: "host", protocol: "UDP", nftables: EPERM, other: SILENT },
  },
  {
    what: "a UDP datagram to a Service without endpoints, from an unconnected socket",
    ...{ protocol: "UDP", styles: ["sendto", "one socket"], nftables: SILENT, other: REFUSED },
  },
  {
    what: "client address seen by the endpoint",
    ...{ kinds: ["caller's address"], nftables: /the node's/, other: /^the pod's$/ },
  },
  {
    what: "a slice that goes over to another Service",
    ...{ scenarios: /^slice-changes-service/, nftables: ANSWERED, other: REFUSED },
  },
  {
    what: "an endpoint of which two slices say different things",
    ...{ scenarios: TWO_SLICES, nftables: ANSWERED, other: ANSWERED, byChance: true },
  },
  {
    what: "source ranges, the caller",
    ...{ kinds: ["LoadBalancer"], caller: "pod", scenarios: /^source-ranges/ },
    ...{ nftables: /^(refused$|\[?[0-9a-f]+[.:]|one of )/, other: SILENT },
  },
  {
    what: "endpoints in 0/8, 127/8, 169.254/16, 224/4, 240/4, ::, ::1, fe80::/10, ff00::/8, IPv4-mapped ones, and Service addresses as endpoints",
    kinds: ["ClusterIP", "caller's address"],
    scenarios: SERVICE_ADDRESSES,
    ...{ nftables: /(silent|refused)$/, other: ANSWERED },
  },
];

export const IPTABLES_DIFFERS: readonly Difference[] = [
  {
    what: "knows no other ports of a ClusterIP: they are routed on",
    kinds: ["unknown port of a ClusterIP", "unknown protocol of a ClusterIP"],
    ...{ nftables: /^(refused|EPERM)$/, other: /^(refused )?silent$/ },
  },
  {
    what: "knows no ServiceCIDR: other addresses in it are routed on",
    kinds: ["unused address of a ServiceCIDR"],
    ...{ nftables: EPERM, other: SILENT },
  },
  {
    what: "does not refuse the host's own connections to external addresses without endpoints",
    kinds: ["ExternalIP", "LoadBalancer"],
    ...{
      caller: "host",
      nftables: /^(refused|EPERM)$/,
      other: /^(silent|refused|192\.0\.2\.4:8080|\[fd00:192:0:2::4\]:8080)$/,
    },
  },
  {
    what: "refuses for want of endpoints before it looks at source ranges",
    ...{ kinds: ["LoadBalancer"], scenarios: /^source-ranges/, nftables: SILENT, other: REFUSED },
  },
  {
    what: "accepts on all addresses of the node",
    kinds: ["NodePort on a second address", "NodePort on loopback"],
    ...{ nftables: REFUSED, other: ANSWERED },
  },
  {
    what: "translates what is sent to ::1 where the policy is Local, and nobody can answer",
    kinds: ["NodePort on loopback"],
    ...{ scenarios: / \(IPv6\)$/, nftables: REFUSED, other: SILENT },
  },
  {
    what: "chooses by chance too which slice it believes",
    ...{ scenarios: TWO_SLICES, nftables: ANSWERED, other: ANSWERED, byChance: true },
  },
  {
    what: "reaches endpoints at Service addresses",
    kinds: ["ClusterIP", "caller's address"],
    scenarios: SERVICE_ADDRESSES,
    ...{ nftables: /(silent|refused)$/, other: ANSWERED },
  },
];

/** The entry that allows these outcomes, if any does. */
export function explanation(
  allowed: readonly Difference[],
  scenario: string,
  check: Check,
  outcomes: { readonly nftables: string; readonly other: string },
): Difference | undefined {
  return allowed.find(
    (one) =>
      (one.kinds?.includes(check.kind) ?? true) &&
      (one.protocol ?? check.protocol) === check.protocol &&
      (one.caller ?? check.caller) === check.caller &&
      (one.styles?.includes(check.style) ?? true) &&
      (one.scenarios?.test(scenario) ?? true) &&
      one.nftables.test(outcomes.nftables) &&
      one.other.test(outcomes.other),
  );
}
