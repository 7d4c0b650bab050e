// SPDX-License-Identifier: Apache-2.0
// From programs to a cluster of three nodes that are Ready, without a Service proxy: containerd, kubeadm, CNI.

import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { command, eventually } from "../support/daemon.ts";
import { kubeBinaries } from "../support/kube.ts";
import { type Bed, ip } from "./bed.ts";
import { archiveImages, type Image } from "./images.ts";
import {
  cniConfig,
  containerdConfig,
  ignoredPreflight,
  kubeadmConfig,
  kubeletUnit,
  podRoute,
  repository,
} from "./kubeadm.ts";
import { ClusterNode } from "./node.ts";

const controlPlanePrograms = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"];
const runtimePrograms = ["containerd", "containerd-shim-runc-v2", "ctr", "ptp", "loopback", "host-local"];
const testPrograms = ["e2e.test", "ginkgo", "agnhost"];
const nodePrograms = ["coredns", "kubeadm", "kubelet", "kubectl", ...runtimePrograms];
const programs = [...controlPlanePrograms, ...nodePrograms, ...testPrograms];

/** Upstream's specs skip some checks on fewer. */
const nodeCount = 3;

/** What upstream's specs call in their pods: its name there to its name here. */
const podTools = {
  ...{ sh: "dash", nc: "nc.openbsd", nslookup: "busybox" },
  ...Object.fromEntries(
    ["cat", "curl", "date", "dd", "echo", "hostname", "seq", "sleep", "timeout", "wget"].map((name) => [name, name]),
  ),
};

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));

/** The image of the program in test/cluster/pod. */
export const podImage = `${repository}/pod:1`;

export class Cluster {
  /** The first is the control plane's. */
  readonly nodes: readonly [ClusterNode, ...ClusterNode[]];
  /** The folder of what is kept if somebody asks for it. */
  readonly logs: string;

  private constructor(nodes: readonly [ClusterNode, ...ClusterNode[]], logs: string) {
    this.nodes = nodes;
    this.logs = logs;
  }

  /** `kube` is the folder that buildPrograms() gives; `say` is told of every stage that is done. */
  static async start(bed: Bed, kube: string, say: (stage: string) => void): Promise<Cluster> {
    const opt = await installOpt(bed);
    const images = await imageNames(kube);
    await archive(images, kube, opt);
    say("images made");
    const options = { programs: kube, opt };
    const nodes: [ClusterNode, ...ClusterNode[]] = [await ClusterNode.start(bed, { ...options, index: 1 })];
    for (let index = 2; index <= nodeCount; index++) nodes.push(await ClusterNode.start(bed, { ...options, index }));
    const cluster = new Cluster(nodes, bed.logs);
    await Promise.all(nodes.map((node) => startRuntime(node, images.get("pause") ?? "")));
    say("containerd runs, images imported");
    await cluster.#kubeadm(images);
    say("kubeadm has made the control plane, every node has joined");
    await cluster.#connectPods();
    await cluster.kubectl(["wait", "--for=condition=Ready", "node", "--all", "--timeout=600s"]);
    say("nodes are Ready");
    return cluster;
  }

  /** kubectl as admin, on the first node; `input` is its standard input. Gives standard output. */
  kubectl(args: readonly string[], input = "", timeoutMs = 620_000): Promise<string> {
    return this.nodes[0].run(["kubectl", ...args], input, timeoutMs);
  }

  /** Creates or changes objects, all in one call. */
  async apply(objects: readonly object[]): Promise<void> {
    await this.kubectl(["apply", "-f", "-"], JSON.stringify({ apiVersion: "v1", kind: "List", items: objects }));
  }

  async #kubeadm(images: ReadonlyMap<string, string>): Promise<void> {
    const version = images.get("kube-apiserver")?.split(":")[1] ?? "";
    const [first, ...others] = this.nodes;
    for (const node of this.nodes) {
      node.writeEtc("kubernetes/kubeadm.yaml", kubeadmConfig(node, first, version));
      node.start("kubelet", ["sh", "-c", kubeletUnit]);
    }
    const withConfig = ["--config=/etc/kubernetes/kubeadm.yaml", ignoredPreflight];
    await first.run(["kubeadm", "init", ...withConfig, "--skip-phases=addon/kube-proxy"], "", 900_000);
    await Promise.all(others.map((node) => node.run(["kubeadm", "join", ...withConfig], "", 900_000)));
  }

  /** What a CNI's agent does: every node's plugin configuration, and routes between the nodes. */
  async #connectPods(): Promise<void> {
    for (const node of this.nodes) {
      const cidrs = await eventually(`${node.name} has ranges for its pods`, async () => {
        const found = await this.kubectl(["get", "node", node.name, "-o=jsonpath={.spec.podCIDRs[*]}"]);
        return found === "" ? undefined : found.split(" ");
      });
      for (const other of this.nodes) {
        if (other !== node)
          await ip(
            other.netns,
            cidrs.map((cidr) => podRoute(cidr, node)),
          );
      }
      node.writeEtc("cni/net.d/10-pods.conflist", cniConfig(cidrs));
    }
  }
}

/** Gives the folder of the programs; the first time on a machine it builds them, which takes minutes and is shown. */
export async function buildPrograms(): Promise<string> {
  const { status } = spawnSync(path("../kube/build.sh"), programs, { stdio: "inherit" });
  if (status !== 0) throw new Error("test/kube/build.sh failed");
  return await kubeBinaries(programs);
}

/** What the nodes see as /opt: portolan as `make install` lays it down, the pod program, images. */
async function installOpt(bed: Bed): Promise<string> {
  const opt = join(bed.folder, "opt");
  mkdirSync(join(opt, "kube"), { recursive: true });
  await command([path("../../scripts/install.sh"), join(opt, "portolan")]);
  const flags = ["-trimpath", "-buildvcs=false", "-ldflags=-s -w"];
  const environment = ["env", "CGO_ENABLED=0", "GOTOOLCHAIN=local", "GOWORK=off", "GOFLAGS="];
  await command(
    [...environment, "go", "build", "-C", path("pod"), ...flags, "-o", join(opt, "pod"), "."],
    {},
    "",
    900_000,
  );
  return opt;
}

/** The images kubeadm of this version asks for, by their last name. */
async function imageNames(kube: string): Promise<Map<string, string>> {
  const version = (await command([join(kube, "kubeadm"), "version", "-o=short"])).trim();
  const wanted = ["--image-repository", repository, "--kubernetes-version", version];
  // kubeadm looks at the host name even here, and not every machine's will do for a node.
  const asNode = ["unshare", "--uts", "sh", "-c", 'hostname node1 && exec "$@"', "sh"];
  const list = await command([...asNode, join(kube, "kubeadm"), "config", "images", "list", ...wanted]);
  return new Map(
    list
      .trimEnd()
      .split("\n")
      .map((name) => [/([^/]+):/.exec(name)?.[1] ?? "", name]),
  );
}

async function archive(names: ReadonlyMap<string, string>, kube: string, opt: string): Promise<void> {
  const named = (name: string): string => names.get(name) ?? `${repository}/${name}`;
  const ofKube = (program: string, folder: string): Image => {
    return { name: named(program), program: join(kube, program), path: `${folder}/${program}` };
  };
  const pod = { program: join(opt, "pod"), path: "/pod" };
  const [agnhost = "", pause = ""] = (await command([join(kube, "e2e.test"), "-images"])).split("\n");
  await archiveImages(
    join(opt, "node1.tar"),
    controlPlanePrograms.map((program) => ofKube(program, "/usr/local/bin")),
  );
  await archiveImages(join(opt, "every-node.tar"), [
    ofKube("coredns", ""),
    { ...pod, name: podImage },
    { ...pod, name: named("pause"), args: ["idle"] },
    { ...pod, name: pause, args: ["idle"] },
    { name: agnhost, program: join(kube, "agnhost"), path: "/agnhost", args: ["pause"], tools: podTools },
  ]);
}

async function startRuntime(node: ClusterNode, pauseImage: string): Promise<void> {
  node.writeEtc("containerd/config.toml", containerdConfig(pauseImage));
  const containerd = node.start("containerd", ["containerd", "--config=/etc/containerd/config.toml"]);
  await containerd.until(
    "answers",
    async () => {
      await node.run(["ctr", "version"]);
      return true;
    },
    180_000,
  );
  for (const archive of node.name === "node1" ? ["node1", "every-node"] : ["every-node"]) {
    await node.run(["ctr", "--namespace=k8s.io", "images", "import", `/opt/${archive}.tar`], "", 900_000);
  }
}
