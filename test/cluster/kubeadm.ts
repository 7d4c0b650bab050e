// SPDX-License-Identifier: Apache-2.0
// What kubeadm, containerd and the CNI plugins are told: the configuration of a cluster without kube-proxy.

import { randomBytes } from "node:crypto";
import type { ClusterNode } from "./node.ts";

/** The cluster's images bear a name that no registry has: what is missing on a node is an error and not a download. */
export const repository = "portolan.test";

/** The Service ranges: the first address of each is the API's. */
export const serviceRanges = ["10.96.0.0/16", "fd00:96::/112"] as const;
const podRanges = ["10.244.0.0/16", "fd00:10:244::/56"] as const;

/** What `ClusterNode.start` cannot know: kubeadm's checks that a namespace on one machine cannot pass. */
export const ignoredPreflight = "--ignore-preflight-errors=SystemVerification,NumCPU,Mem";

const token = `${randomBytes(3).toString("hex")}.${randomBytes(8).toString("hex")}`;
const kubeadmApi = "kubeadm.k8s.io/v1beta4";

/** A machine may be slow. */
const timeouts = {
  controlPlaneComponentHealthCheck: "8m",
  kubeletHealthCheck: "8m",
  kubernetesAPICall: "8m",
  discovery: "8m",
  tlsBootstrap: "8m",
};

/** The one file that `kubeadm init` and `kubeadm join` read on `node`. */
export function kubeadmConfig(node: ClusterNode, controlPlane: ClusterNode, kubernetesVersion: string): string {
  const server = `${controlPlane.ipv4}:6443`;
  const nodeRegistration = {
    name: node.name,
    criSocket: "unix:///run/containerd/containerd.sock",
    imagePullPolicy: "Never",
    taints: [],
    kubeletExtraArgs: [{ name: "node-ip", value: `${node.ipv4},${node.ipv6}` }],
  };
  const first = {
    apiVersion: kubeadmApi,
    kind: "InitConfiguration",
    bootstrapTokens: [{ token }],
    localAPIEndpoint: { advertiseAddress: controlPlane.ipv4, bindPort: 6443 },
    nodeRegistration,
    timeouts,
  };
  const cluster = {
    apiVersion: kubeadmApi,
    kind: "ClusterConfiguration",
    kubernetesVersion,
    imageRepository: repository,
    controlPlaneEndpoint: server,
    networking: { podSubnet: podRanges.join(","), serviceSubnet: serviceRanges.join(",") },
    etcd: { local: { extraArgs: [{ name: "unsafe-no-fsync", value: "true" }] } },
  };
  const join = {
    apiVersion: kubeadmApi,
    kind: "JoinConfiguration",
    discovery: { bootstrapToken: { apiServerEndpoint: server, token, unsafeSkipCAVerification: true } },
    nodeRegistration,
    timeouts,
  };
  const documents = controlPlane === node ? [first, cluster, kubeletConfig] : [join];
  return documents.map((document) => JSON.stringify(document)).join("\n---\n");
}

const kubeletConfig = {
  apiVersion: "kubelet.config.k8s.io/v1beta1",
  kind: "KubeletConfiguration",
  cgroupDriver: "cgroupfs",
  failCgroupV1: false,
  failSwapOn: false,
  resolvConf: "/etc/resolv.conf",
  // A machine with a full disk is no reason to remove images or pods here.
  imageGCHighThresholdPercent: 100,
  imageGCLowThresholdPercent: 99,
  evictionHard: {
    "memory.available": "100Mi",
    "nodefs.available": "1%",
    "imagefs.available": "1%",
    "nodefs.inodesFree": "1%",
  },
};

/**
 * Does what a service manager's unit for kubelet does: starts it as soon as kubeadm has written its configuration, and
 * again when it ends.
 */
export const kubeletUnit = `
  while sleep 0.3; do
    [ -f /var/lib/kubelet/config.yaml ] && [ -f /var/lib/kubelet/kubeadm-flags.env ] || continue
    . /var/lib/kubelet/kubeadm-flags.env
    kubelet --bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf \\
      --config=/var/lib/kubelet/config.yaml $KUBELET_KUBEADM_ARGS || echo "kubelet ended: $?"
  done`;

export function containerdConfig(pauseImage: string): string {
  const cri = "io.containerd.cri.v1";
  return `version = 3
[plugins.'${cri}.images'.pinned_images]
  sandbox = '${pauseImage}'
[plugins.'${cri}.runtime']
  # A machine may deny a score below its own.
  restrict_oom_score_adj = true
  # A profile would be loaded into the whole machine.
  disable_apparmor = true
[plugins.'${cri}.runtime'.cni]
  bin_dirs = ['/opt/kube']
  conf_dir = '/etc/cni/net.d'
`;
}

/** Pods on veth pairs, each routed by the node; `podCidrs` are the node's. */
export function cniConfig(podCidrs: readonly string[]): string {
  const ipam = {
    type: "host-local",
    dataDir: "/run/cni-addresses",
    ranges: podCidrs.map((subnet) => [{ subnet }]),
    routes: podCidrs.map((cidr) => ({ dst: isIpv6(cidr) ? "::/0" : "0.0.0.0/0" })),
  };
  const plugins = [{ type: "ptp", ipMasq: false, mtu: 1500, ipam }];
  return JSON.stringify({ cniVersion: "1.0.0", name: "pods", plugins });
}

/** The route to another node's pods. */
export function podRoute(podCidr: string, { ipv4, ipv6 }: ClusterNode): string {
  return `route add ${podCidr} via ${isIpv6(podCidr) ? ipv6 : ipv4}`;
}

const isIpv6 = (cidr: string): boolean => cidr.includes(":");
