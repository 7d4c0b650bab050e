// SPDX-License-Identifier: Apache-2.0
// Which feature gates of kube-proxy 1.36 are on, and which of those need others that are off: it does not start with them.

const words = (list: string): readonly string[] => list.trim().split(/\s+/);

/** A gate, and the gates it needs; those that need only locked ones are left out, for they always have them. */
const NEEDS: Readonly<Record<string, readonly string[]>> = {
  ClusterTrustBundleProjection: ["ClusterTrustBundle"],
  DRADeviceBindingConditions: ["DRAResourceClaimDeviceStatus"],
  DRADeviceTaintRules: ["DRADeviceTaints"],
  DRAResourceClaimGranularStatusAuthorization: ["DRAResourceClaimDeviceStatus"],
  DRAWorkloadResourceClaims: ["GenericWorkload"],
  ExtendWebSocketsToKubelet: ["NodeDeclaredFeatures"],
  GangScheduling: ["GenericWorkload"],
  GracefulNodeShutdownBasedOnPodPriority: ["GracefulNodeShutdown"],
  InPlacePodLevelResourcesVerticalScaling: ["PodLevelResources", "NodeDeclaredFeatures"],
  InPlacePodVerticalScalingInitContainers: ["NodeDeclaredFeatures"],
  MatchLabelKeysInPodTopologySpreadSelectorMerge: ["MatchLabelKeysInPodTopologySpread"],
  PodLevelResourceManagers: ["PodLevelResources"],
  ResourceHealthStatusMessage: ["ResourceHealthStatus"],
  RestartAllContainersOnContainerExits: ["ContainerRestartRules", "NodeDeclaredFeatures"],
  StaleControllerConsistencyDaemonSet: ["AtomicFIFO"],
  StaleControllerConsistencyJob: ["AtomicFIFO"],
  StaleControllerConsistencyReplicaSet: ["AtomicFIFO"],
  StaleControllerConsistencyStatefulSet: ["AtomicFIFO"],
  StorageVersionAPI: ["APIServerIdentity"],
  TopologyAwareWorkloadScheduling: ["GenericWorkload"],
  UnknownVersionInteroperabilityProxy: ["APIServerIdentity"],
  UserNamespacesHostNetworkSupport: ["NodeDeclaredFeatures"],
  WindowsGracefulNodeShutdown: ["GracefulNodeShutdown"],
  WorkloadAwarePreemption: ["GangScheduling"],
  WorkloadWithJob: ["GenericWorkload"],
};

/** Of those above and of logging: the alpha ones, which are off unless they or AllAlpha are set. All others are beta. */
const ALPHA = new Set(
  words(`
    DRAWorkloadResourceClaims GangScheduling GenericWorkload LoggingAlphaOptions PodLevelResourceManagers StorageVersionAPI
    TopologyAwareWorkloadScheduling UserNamespacesHostNetworkSupport WorkloadAwarePreemption WorkloadWithJob
  `),
);
/** Beta ones that are off by default. */
const OFF = new Set(words("ClusterTrustBundle ClusterTrustBundleProjection DRADeviceTaintRules"));

export type Gates = Readonly<Record<string, boolean>>;

/** Whether a gate that is named above, or one of logging's, is on. */
export function gateIsOn(name: string, gates: Gates): boolean {
  const [all, byDefault] = ALPHA.has(name) ? ["AllAlpha", false] : ["AllBeta", !OFF.has(name)];
  return gates[name] ?? gates[all] ?? byDefault;
}

/** The gates that are on and lack others, each with those. */
export function lackingGates(gates: Gates): readonly (readonly [gate: string, lacks: readonly string[]])[] {
  return Object.entries(NEEDS)
    .map(
      ([gate, needs]) => [gate, gateIsOn(gate, gates) ? needs.filter((name) => !gateIsOn(name, gates)) : []] as const,
    )
    .filter(([, lacks]) => lacks.length > 0);
}
