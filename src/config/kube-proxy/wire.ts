// SPDX-License-Identifier: Apache-2.0
// Settings as a KubeProxyConfiguration v1alpha1, keys in the order of kube-proxy's own type.

import type { Config } from "../schema.ts";
import { formatDuration } from "./duration.ts";
import { EXTERNAL_IPS_GATE } from "./feature-gates.ts";
import { verbosityOf } from "./verbosity.ts";
import { API_VERSION, activeSection, KIND, type Mode } from "./wire-schema.ts";

/** What kube-proxy makes of a conntrack setting that nobody gave. */
const CONNTRACK_DEFAULTS = {
  maxPerCore: 32_768,
  min: 131_072,
  tcpEstablishedTimeoutSec: 86_400,
  tcpCloseWaitTimeoutSec: 3_600,
} as const;

/**
 * The effective values in kube-proxy's words, every default filled in as kube-proxy does: what /configz shows and
 * --write-config-to writes. Sections of other modes have the periods 0s.
 */
export function wireConfiguration(config: Config): object {
  const { conntrack, mode, nodePortAddresses } = config;
  return wireFile({
    ...config,
    mode: activeSection(mode),
    nodePortAddresses: mode === "nftables" && !nodePortAddresses?.length ? ["primary"] : nodePortAddresses,
    conntrack: {
      ...conntrack,
      maxPerCore: conntrack.maxPerCore ?? CONNTRACK_DEFAULTS.maxPerCore,
      min: conntrack.min ?? CONNTRACK_DEFAULTS.min,
      tcpEstablishedTimeoutSec: conntrack.tcpEstablishedTimeoutSec ?? CONNTRACK_DEFAULTS.tcpEstablishedTimeoutSec,
      tcpCloseWaitTimeoutSec: conntrack.tcpCloseWaitTimeoutSec ?? CONNTRACK_DEFAULTS.tcpCloseWaitTimeoutSec,
    },
  });
}

/** The same as a file that says no more than the settings do: reading it gives them again. */
export function wireFile(config: Config): object {
  const { kubeProxy: kept } = config;
  const featureGates = gatesOf(config);
  return {
    kind: KIND,
    apiVersion: API_VERSION,
    ...(Object.keys(featureGates).length === 0 ? {} : { featureGates }),
    clientConnection: { kubeconfig: config.kubeconfig ?? "", ...kept.clientConnection },
    logging: loggingOf(config),
    hostnameOverride: config.hostnameOverride ?? "",
    bindAddress: config.bindAddress,
    healthzBindAddress: config.healthzBindAddress === "none" ? "" : config.healthzBindAddress,
    metricsBindAddress: config.metricsBindAddress,
    bindAddressHardFail: config.bindAddressHardFail,
    enableProfiling: config.enableProfiling,
    showHiddenMetricsForVersion: kept.showHiddenMetricsForVersion,
    mode: config.mode,
    ...modeSections(config),
    winkernel: kept.winkernel,
    detectLocalMode: config.detectLocalMode,
    detectLocal: config.detectLocal,
    clusterCIDR: config.clusterCidrs.join(","),
    nodePortAddresses: config.nodePortAddresses,
    oomScoreAdj: config.oomScoreAdj,
    conntrack: conntrackOf(config),
    configSyncPeriod: formatDuration(config.configSyncPeriodSec),
    portRange: "",
    ...(kept.windowsRunAsService ? { windowsRunAsService: true } : {}),
  };
}

function gatesOf({ kubeProxy: { featureGates }, allowServiceExternalIps }: Config): Record<string, boolean> {
  const said = featureGates[EXTERNAL_IPS_GATE];
  if ((said ?? true) === allowServiceExternalIps) return featureGates;
  return { ...featureGates, [EXTERNAL_IPS_GATE]: allowServiceExternalIps };
}

function loggingOf({ kubeProxy: { logging }, logFormat, logLevel }: Config): object {
  const { flushFrequency, verbosity, vmodule, options } = logging;
  const output = ({ splitStream, infoBufferSize }: typeof options.text): object =>
    splitStream ? { splitStream, infoBufferSize } : { infoBufferSize };
  return {
    format: logFormat ?? "json",
    flushFrequency,
    verbosity: verbosityOf(logLevel, verbosity),
    ...(vmodule.length === 0 ? {} : { vmodule }),
    options: { text: output(options.text), json: output(options.json) },
  };
}

function modeSections(config: Config): object {
  const { iptables, ipvs, nftables } = config.kubeProxy;
  const active = activeSection(config.mode);
  const { scheduler, excludeCIDRs, strictARP, tcpTimeout, tcpFinTimeout, udpTimeout } = ipvs;
  return {
    iptables: {
      masqueradeBit: iptables.masqueradeBit,
      masqueradeAll: active !== "nftables" && config.masqueradeAll,
      localhostNodePorts: active === "iptables" ? config.localhostNodePorts : iptables.localhostNodePorts,
      ...periods(config, "iptables"),
    },
    ipvs: { ...periods(config, "ipvs"), scheduler, excludeCIDRs, strictARP, tcpTimeout, tcpFinTimeout, udpTimeout },
    nftables: {
      masqueradeBit: nftables.masqueradeBit,
      masqueradeAll: active === "nftables" && config.masqueradeAll,
      ...periods(config, "nftables"),
    },
  };
}

function periods({ mode, syncPeriodSec, minSyncPeriodSec }: Config, section: Exclude<Mode, "">): object {
  if (activeSection(mode) !== section) return { syncPeriod: "0s", minSyncPeriod: "0s" };
  return { syncPeriod: formatDuration(syncPeriodSec), minSyncPeriod: formatDuration(minSyncPeriodSec) };
}

function conntrackOf({ conntrack }: Config): object {
  const duration = (sec: number | null): string | null => (sec === null ? null : formatDuration(sec));
  return {
    maxPerCore: conntrack.maxPerCore,
    min: conntrack.min,
    tcpEstablishedTimeout: duration(conntrack.tcpEstablishedTimeoutSec),
    tcpCloseWaitTimeout: duration(conntrack.tcpCloseWaitTimeoutSec),
    tcpBeLiberal: conntrack.tcpBeLiberal ?? false,
    udpTimeout: formatDuration(conntrack.udpTimeoutSec ?? 0),
    udpStreamTimeout: formatDuration(conntrack.udpStreamTimeoutSec ?? 0),
  };
}
