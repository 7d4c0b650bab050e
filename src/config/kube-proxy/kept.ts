// SPDX-License-Identifier: Apache-2.0
// What kube-proxy's configuration says that has no meaning here. It is kept, so that /configz and a conversion back say it
// again: the section `kubeProxy` of a configuration, in kube-proxy's own words.

import * as v from "valibot";
import { formatDuration, parseDuration } from "./duration.ts";
import { durationText, flag, floatOr, integer, integerOr, text } from "./fields.ts";

const clientConnection = v.strictObject({
  acceptContentTypes: text(),
  contentType: text("application/vnd.kubernetes.protobuf"),
  qps: floatOr(5),
  burst: integerOr(10),
});

/** A string is a duration, a number is nanoseconds; written back as it came. */
const flushFrequency = v.pipe(
  v.nullish(v.union([v.string(), v.number()]), 0),
  v.check(
    (value) => value === "" || (typeof value === "string" ? parseDuration(value) !== null : Number.isInteger(value)),
    "must be a duration or a whole number of nanoseconds",
  ),
  v.transform((value) => {
    if (value === 0 || value === "") return "5s";
    return typeof value === "number" ? value : formatDuration(parseDuration(value) ?? 0);
  }),
);

/** As Kubernetes writes amounts: "64Ki", "1.5G", "1e3". */
export const isQuantity = (text: string): boolean =>
  /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?$/.test(text);

/** Nothing is "0" in whatever unit. */
export const quantityText = (text: string): string => (Number.parseFloat(text) === 0 ? "0" : text);

const output = v.strictObject({
  splitStream: flag(),
  infoBufferSize: v.pipe(
    v.nullish(v.union([v.string(), v.number()]), 0),
    v.transform((value) => `${value || 0}`),
    v.check(isQuantity, "must be a quantity, as 64Ki"),
    v.transform(quantityText),
  ),
});

const logging = v.strictObject({
  flushFrequency,
  verbosity: integer(0),
  vmodule: v.nullish(v.array(v.nullish(v.strictObject({ filePattern: text(), verbosity: integer(0) }), {})), []),
  options: v.nullish(v.strictObject({ text: v.nullish(output, {}), json: v.nullish(output, {}) }), {}),
});

const ipvs = v.strictObject({
  scheduler: text(),
  excludeCIDRs: v.optional(v.nullable(v.array(text())), null),
  strictARP: flag(),
  tcpTimeout: durationText,
  tcpFinTimeout: durationText,
  udpTimeout: durationText,
});

const winkernel = v.strictObject({
  networkName: text(),
  sourceVip: text(),
  enableDSR: flag(),
  rootHnsEndpointName: text(),
  forwardHealthCheckVip: flag(),
});

const iptables = v.strictObject({ masqueradeBit: integer(14), localhostNodePorts: flag(true) });
const nftables = v.strictObject({ masqueradeBit: integer(14) });

/** Sections of which the wire form holds all, and some fields more. */
export const sections = { clientConnection, logging, iptables, nftables, ipvs, winkernel } as const;

export const kubeProxySection = v.strictObject({
  featureGates: v.nullish(v.record(v.string(), flag()), {}),
  clientConnection: v.nullish(clientConnection, {}),
  logging: v.nullish(logging, {}),
  showHiddenMetricsForVersion: text(),
  iptables: v.nullish(iptables, {}),
  ipvs: v.nullish(ipvs, {}),
  nftables: v.nullish(nftables, {}),
  winkernel: v.nullish(winkernel, {}),
  windowsRunAsService: flag(),
});

export type KubeProxySection = v.InferOutput<typeof kubeProxySection>;
