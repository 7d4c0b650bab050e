// SPDX-License-Identifier: Apache-2.0
// KubeProxyConfiguration v1alpha1 as it stands in files: every field, with the defaults that kube-proxy 1.36 fills in.
// What values go together is validation.ts' part.

import * as v from "valibot";
import { duration, durationOrNull, flag, integer, integerOrNull, text } from "./fields.ts";
import { kubeProxySection, sections } from "./kept.ts";

export const API_VERSION = "kubeproxy.config.k8s.io/v1alpha1";
export const KIND = "KubeProxyConfiguration";

const syncing = (minSyncPeriodSec: number) => ({ syncPeriod: duration(30), minSyncPeriod: duration(minSyncPeriodSec) });

const conntrack = v.strictObject({
  maxPerCore: integerOrNull,
  min: integerOrNull,
  tcpEstablishedTimeout: durationOrNull,
  tcpCloseWaitTimeout: durationOrNull,
  tcpBeLiberal: flag(),
  udpTimeout: duration(0),
  udpStreamTimeout: duration(0),
});

/** kube-proxy reads whether the streams are split from its flags alone. */
const logOptions = v.pipe(
  sections.logging.entries.options,
  v.transform(({ text: { infoBufferSize: textSize }, json: { infoBufferSize: jsonSize } }) => ({
    text: { splitStream: false, infoBufferSize: textSize },
    json: { splitStream: false, infoBufferSize: jsonSize },
  })),
);

export const wireSchema = v.strictObject({
  apiVersion: v.literal(API_VERSION),
  kind: v.literal(KIND),
  featureGates: kubeProxySection.entries.featureGates,
  clientConnection: v.nullish(v.strictObject({ kubeconfig: text(), ...sections.clientConnection.entries }), {}),
  logging: v.nullish(
    v.strictObject({
      format: v.pipe(text("text"), v.picklist(["text", "json"], 'must be "text" or "json"')),
      ...sections.logging.entries,
      options: logOptions,
    }),
    {},
  ),
  hostnameOverride: text(),
  bindAddress: text("0.0.0.0"),
  healthzBindAddress: text(),
  metricsBindAddress: text(),
  bindAddressHardFail: flag(),
  enableProfiling: flag(),
  showHiddenMetricsForVersion: text(),
  mode: v.pipe(text(), v.picklist(["", "iptables", "ipvs", "nftables"], "must be iptables, ipvs, nftables or empty")),
  iptables: v.nullish(v.strictObject({ ...sections.iptables.entries, masqueradeAll: flag(), ...syncing(1) }), {}),
  ipvs: v.nullish(v.strictObject({ ...sections.ipvs.entries, ...syncing(0) }), {}),
  nftables: v.nullish(v.strictObject({ ...sections.nftables.entries, masqueradeAll: flag(), ...syncing(1) }), {}),
  winkernel: v.nullish(sections.winkernel, {}),
  detectLocalMode: v.pipe(
    text("ClusterCIDR"),
    v.picklist(
      ["ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix"],
      "must be ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix",
    ),
  ),
  detectLocal: v.nullish(v.strictObject({ bridgeInterface: text(), interfaceNamePrefix: text() }), {}),
  clusterCIDR: text(),
  nodePortAddresses: v.optional(v.nullable(v.array(text())), null),
  oomScoreAdj: integer(-999),
  conntrack: v.nullish(conntrack, {}),
  configSyncPeriod: duration(900),
  /** Has no meaning any more, and is not written back. */
  portRange: text(),
  windowsRunAsService: flag(),
});

/** A file's content with every default filled in; null is left only where "not asked" differs from the default. */
export type Wire = v.InferOutput<typeof wireSchema>;
export type Mode = Wire["mode"];

/** The section that kube-proxy's mode reads. */
export const activeSection = (mode: Mode): "iptables" | "ipvs" | "nftables" => (mode === "" ? "iptables" : mode);
