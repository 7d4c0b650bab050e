// SPDX-License-Identifier: Apache-2.0
// kube-proxy's flags that are accepted and have no effect here; what was given is kept for /configz.

import { isCidr } from "../config/checks.ts";
import { float32, goFloat } from "../config/go-number.ts";
import { formatDuration } from "../config/kube-proxy/duration.ts";
import { isQuantity, quantityText } from "../config/kube-proxy/kept.ts";
import {
  between,
  type Check,
  duration,
  type Fields,
  flag,
  fromZero,
  integer,
  integerOf,
  items,
  list,
  logging,
  notNegative,
  onOff,
  type ProxyFlag,
  secondsOf,
} from "./proxy-flag.ts";

const quantity: Check = (value) => (isQuantity(value) ? null : `must be a quantity, as 64Ki, is "${value}"`);

const inert = (what: ProxyFlag): ProxyFlag => ({
  ...what,
  inert: true,
  description: `${what.description} (no effect)`,
});
const nothing: Fields = () => ({});
const vmodules = (value: string): { filePattern: string; verbosity: number }[] =>
  items(value).map((item) => {
    const [filePattern = "", verbosity = ""] = item.split("=", 2);
    return { filePattern, verbosity: Number(verbosity) };
  });
const vmoduleCheck: Check = (value) =>
  items(value).every((item) => /^[^=]+=\d{1,9}$/.test(item)) ? null : `must be PATTERN=N,…, is "${value}"`;

const bufferSize = (format: "text" | "json"): ProxyFlag =>
  flag({
    name: `log-${format}-info-buffer-size`,
    value: "QUANTITY",
    what: `lines of format ${format} are not buffered`,
    check: quantity,
    fields: (value) => ({ kubeProxy: { logging: { options: { [format]: { infoBufferSize: quantityText(value) } } } } }),
    more: { ...logging, mayBeEmpty: false },
  });

const splitStream = (format: "text" | "json"): ProxyFlag => ({
  ...onOff(`log-${format}-split-stream`, `errors of format ${format} go to standard output too`, (on) => ({
    kubeProxy: { logging: { options: { [format]: { splitStream: on } } } },
  })),
  scope: "logging",
});

export const INERT_FLAGS: readonly ProxyFlag[] = [
  flag({
    name: "vmodule",
    value: "PATTERN=N,…",
    what: "verbosity of single files",
    check: vmoduleCheck,
    fields: (value) => ({ kubeProxy: { logging: { vmodule: vmodules(value) } } }),
    more: { ...logging, ...list },
  }),
  flag({
    name: "log-flush-frequency",
    value: "DURATION",
    what: "every line is written at once",
    check: duration,
    fields: (value) => ({ kubeProxy: { logging: { flushFrequency: formatDuration(secondsOf(value)) } } }),
    more: logging,
  }),
  splitStream("text"),
  bufferSize("text"),
  splitStream("json"),
  bufferSize("json"),
  flag({
    name: "kube-api-content-type",
    value: "TYPE",
    what: "JSON is what is asked for",
    fields: (value) => ({ kubeProxy: { clientConnection: { contentType: value } } }),
  }),
  flag({
    name: "kube-api-qps",
    value: "N",
    what: "requests are few, and not limited",
    check: (value) => (float32(goFloat(value) ?? Number.NaN) === null ? `must be a number, is "${value}"` : null),
    fields: (value) => ({ kubeProxy: { clientConnection: { qps: float32(goFloat(value) ?? 0) } } }),
    more: { mayBeEmpty: false },
  }),
  flag({
    name: "kube-api-burst",
    value: "N",
    what: "requests are few, and not limited",
    check: integer,
    judge: fromZero,
    fields: (value) => ({ kubeProxy: { clientConnection: { burst: integerOf(value) } } }),
  }),
  flag({
    name: "show-hidden-metrics-for-version",
    value: "VERSION",
    what: "no metric is hidden",
    judge: (value) => (value === "1.35" ? null : `must be 1.35, is "${value}"`),
    fields: (value) => ({ kubeProxy: { showHiddenMetricsForVersion: value } }),
  }),
  flag({
    name: "iptables-masquerade-bit",
    value: "N",
    what: "no packet is marked",
    check: integer,
    judge: between(0, 31),
    fields: (value) => ({ kubeProxy: { iptables: { masqueradeBit: integerOf(value) } } }),
  }),
  flag({
    name: "ipvs-scheduler",
    value: "NAME",
    what: "there is no IPVS",
    fields: (value) => ({ kubeProxy: { ipvs: { scheduler: value } } }),
  }),
  flag({
    name: "ipvs-exclude-cidrs",
    value: "CIDR,…",
    what: "there is no IPVS",
    judge: (value, { mode }) =>
      mode === "ipvs" && !items(value).every(isCidr) ? `must be CIDRs, is "${value}"` : null,
    fields: (value) => ({ kubeProxy: { ipvs: { excludeCIDRs: items(value) } } }),
    more: list,
  }),
  onOff("ipvs-strict-arp", "there is no IPVS", (on) => ({ kubeProxy: { ipvs: { strictARP: on } } })),
  ...(["tcp", "tcpfin", "udp"] as const).map((kind) =>
    flag({
      name: `ipvs-${kind}-timeout`,
      value: "DURATION",
      what: "there is no IPVS",
      check: duration,
      judge: (value, { mode }) => (mode === "ipvs" ? notNegative(value) : null),
      fields: (value) => ({
        kubeProxy: { ipvs: { [`${kind === "tcpfin" ? "tcpFin" : kind}Timeout`]: value } },
      }),
    }),
  ),
  flag({ name: "boot-id-file", value: "FILES", what: "of a library of kube-proxy's", fields: nothing, more: logging }),
  flag({
    name: "machine-id-file",
    value: "FILES",
    what: "of a library of kube-proxy's",
    fields: nothing,
    more: logging,
  }),
].map(inert);
