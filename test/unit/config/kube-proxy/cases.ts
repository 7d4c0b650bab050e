// SPDX-License-Identifier: Apache-2.0
// KubeProxyConfigurations that the real kube-proxy 1.36 takes, each with the file that it writes for them
// (golden/NAME.yaml), and ones that it refuses. The end-to-end test holds both against the real program.

import { readFileSync } from "node:fs";

export const HEADER = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";

/** What kubeadm 1.36 puts into the ConfigMap kube-proxy of a dual-stack cluster. */
export const KUBEADM = readFileSync(new URL("kubeadm.yaml", import.meta.url), "utf8");

const all = `
featureGates: {AllowServiceExternalIPs: false, WatchListClient: true}
clientConnection: {kubeconfig: /etc/k.conf, acceptContentTypes: a/b, contentType: application/json, qps: 3.75, burst: 7}
logging: {flushFrequency: 6000, verbosity: 5, format: text, vmodule: [{filePattern: "a*", verbosity: 3}]}
hostnameOverride: " Node-7 "
bindAddress: "::"
healthzBindAddress: 10.0.0.1
metricsBindAddress: "fd00::1"
bindAddressHardFail: true
enableProfiling: yes
showHiddenMetricsForVersion: "1.35"
mode: nftables
iptables: {masqueradeBit: 0, masqueradeAll: true, localhostNodePorts: false, syncPeriod: 1h, minSyncPeriod: 2h}
ipvs: {syncPeriod: 5s, scheduler: rr, excludeCIDRs: [10.0.0.0/8], strictARP: true, tcpTimeout: 90s, udpTimeout: 1us}
nftables: {masqueradeBit: 31, masqueradeAll: true, syncPeriod: 1h30m0.5s, minSyncPeriod: 2.5s}
winkernel: {networkName: "1:20", sourceVip: 10.0.0.1, enableDSR: true, rootHnsEndpointName: "no", forwardHealthCheckVip: true}
detectLocalMode: InterfaceNamePrefix
detectLocal: {bridgeInterface: br0, interfaceNamePrefix: veth}
clusterCIDR: 10.244.0.0/16,fd44::/64
nodePortAddresses: [10.0.0.0/8, "fd00::/8"]
oomScoreAdj: 0
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 1.5h, tcpBeLiberal: true, udpTimeout: 100ms}
configSyncPeriod: 1ms
portRange: 1-2
windowsRunAsService: true
`;

/** By name: what follows the header. */
export const ACCEPTED: Readonly<Record<string, string>> = {
  empty: "",
  everything: all,
  nftables: "mode: nftables",
  ipvs: "mode: ipvs\nipvs: {syncPeriod: 5s, excludeCIDRs: []}\niptables: {masqueradeAll: true, syncPeriod: 1h}",
  ipv6: 'bindAddress: "::1"\nclusterCIDR: fd44::/64',
  "zeros-that-count":
    "oomScoreAdj: 0\niptables: {masqueradeBit: 0}\nconntrack: {maxPerCore: 0, min: 0, tcpCloseWaitTimeout: 0s}",
  "zeros-that-do-not":
    "iptables: {minSyncPeriod: 0s, syncPeriod: 0s}\nconfigSyncPeriod: 0s\nclientConnection: {qps: 0, burst: 0}",
  "unknown-and-twice":
    "mode: nftables\nmode: iptables\nMode: ipvs\nfoo: {bar: 1}\nconntrack: {min: 1, max: 5, min: 2}\nwindows: null",
  "other-modes-are-not-read":
    "nftables: {syncPeriod: -5s, masqueradeBit: 99}\nipvs: {tcpTimeout: -1s, excludeCIDRs: [x]}",
  "no-cluster-cidr-needed": "detectLocalMode: NodeCIDR\nconntrack: null\nnodePortAddresses: [primary]",
  logging: "logging: {format: json, verbosity: 2, flushFrequency: 1500ms, options: {json: {infoBufferSize: 0}}}",
  json: '# the header above, and then flow style\niptables: {"localhostNodePorts": false}\noomScoreAdj: -1000',
};

/** Refused, with the paths that are named. */
export const REFUSED: readonly (readonly [text: string, ...paths: string[]])[] = [
  ["mode: kernelspace", "mode"],
  ["mode: 5", "mode"],
  ["bindAddress: node", "bindAddress"],
  ['healthzBindAddress: "[::]:99999"', "healthzBindAddress"],
  ['metricsBindAddress: "10.0.0.1:0"', "metricsBindAddress"],
  ["iptables: {masqueradeBit: 32}", "iptables.masqueradeBit"],
  ["mode: nftables\nnftables: {masqueradeBit: -1}", "nftables.masqueradeBit"],
  ["iptables: {syncPeriod: 500ms}", "iptables.syncPeriod"],
  ["iptables: {syncPeriod: -5s}", "iptables.syncPeriod", "iptables.syncPeriod"],
  ["iptables: {minSyncPeriod: -5s}", "iptables.minSyncPeriod"],
  ["mode: ipvs\nipvs: {tcpTimeout: -1s, excludeCIDRs: [10.0.0.0]}", "ipvs.tcpTimeout", "ipvs.excludeCIDRs.0"],
  ["configSyncPeriod: -1s", "configSyncPeriod"],
  ["configSyncPeriod: 1d", "configSyncPeriod"],
  ["detectLocalMode: Nodes", "detectLocalMode"],
  ["detectLocalMode: BridgeInterface", "detectLocal.bridgeInterface"],
  ["detectLocalMode: InterfaceNamePrefix", "detectLocal.interfaceNamePrefix"],
  ["clusterCIDR: 10.0.0.0/8,11.0.0.0/8", "clusterCIDR"],
  ['clusterCIDR: "10.0.0.0/8, fd00::/8"', "clusterCIDR"],
  ["nodePortAddresses: [10.0.0.0/8, 10.0.0.0/33]", "nodePortAddresses.1"],
  ["nodePortAddresses: [primary, 10.0.0.0/8]", "nodePortAddresses.0"],
  ["oomScoreAdj: 1001", "oomScoreAdj"],
  ["clientConnection: {burst: -1}", "clientConnection.burst"],
  ["conntrack: {maxPerCore: -1, udpTimeout: -1s}", "conntrack.maxPerCore", "conntrack.udpTimeout"],
  ["conntrack: {min: 5.5}", "conntrack.min"],
  ["showHiddenMetricsForVersion: '1.34'", "showHiddenMetricsForVersion"],
  ["featureGates: {NoSuchGate: true}", "featureGates.NoSuchGate"],
  ["featureGates: {NFTablesProxyMode: false}", "featureGates.NFTablesProxyMode"],
  ["featureGates: {WatchListClient: maybe}", "featureGates.WatchListClient"],
  ["logging: {format: xml}", "logging.format"],
  ["logging: {verbosity: -1}", "logging.verbosity"],
  ["logging: {flushFrequency: -1}", "logging.flushFrequency"],
  ["logging: {format: json, vmodule: [{filePattern: a, verbosity: 1}]}", "logging.vmodule"],
  ["logging: {vmodule: [{filePattern: a=b, verbosity: 1}]}", "logging.vmodule.0.filePattern"],
  ["enableProfiling: 1", "enableProfiling"],
  ["hostnameOverride: no", "hostnameOverride"],
];
