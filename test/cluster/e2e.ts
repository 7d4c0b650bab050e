// SPDX-License-Identifier: Apache-2.0
// Kubernetes' own end-to-end specs of Services, as checks. Those that call a node from another one need packets to be
// translated and are left out, each by its name.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CommandError } from "../support/daemon.ts";
import { type Checks, demand } from "./checks.ts";
import type { Cluster } from "./cluster.ts";

const subject = "[sig-network] Services";

/** They restart parts of a node as a service manager's units, over ssh. */
const disruptive = "[Disruptive]";

/** They call the NodePort of a node that is not the caller's own. */
const fromOutside = [
  "should be able to change the type from ExternalName to NodePort",
  "should be able to connect to terminating and unready endpoints if PublishNotReadyAddresses is true",
  "should be able to create a functioning NodePort service",
  "should be able to switch session affinity for NodePort service",
  "should be able to update service type to NodePort listening on same port number but different protocols",
  "should fallback to local terminating endpoints when there are no ready endpoints with externalTrafficPolicy=Local",
  "should fallback to terminating endpoints when there are no ready endpoints with externallTrafficPolicy=Cluster",
  "should have session affinity timeout work for NodePort service",
  "should have session affinity work for NodePort service",
  "should implement NodePort and HealthCheckNodePort correctly when ExternalTrafficPolicy changes",
  "should support externalTrafficPolicy=Local for type=NodePort",
];

/** They wait most of the time. */
const sideBySide = 8;
const timeoutMs = 30 * 60_000;

/** Of ginkgo's report of one spec. */
interface SpecReport {
  readonly LeafNodeType: string;
  readonly LeafNodeText: string;
  readonly ContainerHierarchyTexts: readonly string[] | null;
  readonly State: string;
  /** Nanoseconds. */
  readonly RunTime: number;
  readonly NumAttempts: number;
  readonly Failure?: { readonly Message: string };
  /** Of attempts before the last. */
  readonly AdditionalFailures?: readonly { readonly Failure: { readonly Message: string } }[];
}

/** Runs the specs and checks each; and that each of Services was run or is left out above. */
export async function checkEndToEnd(checks: Checks, cluster: Cluster): Promise<void> {
  const specs = await runSpecs(cluster);
  const run = specs.filter(({ State }) => State !== "skipped");
  for (const spec of run) {
    await checks.check(`e2e, ${spec.LeafNodeText}`, async () => {
      demand(spec.State === "passed", `${spec.State}: ${spec.Failure?.Message ?? ""}`);
      const before = (spec.AdditionalFailures ?? []).map(({ Failure }) => Failure.Message);
      const again = spec.NumAttempts > 1 ? `, at attempt ${spec.NumAttempts}: ${before.join("; ")}` : "";
      return `${(spec.RunTime / 1e9).toFixed(1)} s${again}`;
    });
  }
  await checks.check("e2e, every spec was run or is left out by name", async () => {
    const left = specs.filter((spec) => !run.includes(spec) && !spec.LeafNodeText.includes(disruptive));
    const without = (spec: SpecReport) => fromOutside.find((name) => spec.LeafNodeText.startsWith(name));
    const unnamed = left.filter((spec) => without(spec) === undefined).map(({ LeafNodeText }) => LeafNodeText);
    demand(unnamed.length === 0, `not run: ${unnamed.join(", ")}`);
    const gone = fromOutside.filter((name) => !left.some(({ LeafNodeText }) => LeafNodeText.startsWith(name)));
    demand(run.length > 0 && gone.length === 0, `no such specs: ${gone.join(", ")}`);
    return `${run.length} run, ${left.length} need packets`;
  });
}

/** All specs of Services, whether they were run or not. */
async function runSpecs(cluster: Cluster): Promise<SpecReport[]> {
  const [node] = cluster.nodes;
  const report = "e2e.json";
  const folder = "/var/tmp";
  const skipped = [disruptive, ...fromOutside].map((name) => `--skip=${literally(name)}`);
  const ginkgo = ["ginkgo", `--procs=${sideBySide}`, `--focus=${literally(subject)}`, ...skipped];
  // Their own deadlines are by the clock: as upstream runs them where machines are shared.
  const output = ["--flake-attempts=2", "--no-color", "--keep-going", `--timeout=${timeoutMs}ms`];
  const reports = [`--output-dir=${folder}`, `--json-report=${report}`];
  const suite = ["/opt/kube/e2e.test", "--", "--kubeconfig=/etc/kubernetes/admin.conf", "--provider=skeleton"];
  const about = [`--num-nodes=${cluster.nodes.length}`, "--kubectl-path=/opt/kube/kubectl"];
  try {
    await node.run([...ginkgo, ...output, ...reports, ...suite, ...about], "", timeoutMs + 60_000);
  } catch (error) {
    // A failed spec is in the report.
    if (!(error instanceof CommandError)) throw error;
  }
  const text = readFileSync(join(node.folder, folder, report), "utf8");
  writeFileSync(join(cluster.logs, report), text);
  const suites = JSON.parse(text) as { SpecReports: SpecReport[] }[];
  return suites
    .flatMap(({ SpecReports }) => SpecReports)
    .filter(({ LeafNodeType, ContainerHierarchyTexts }) => {
      return LeafNodeType === "It" && ContainerHierarchyTexts?.[0] === subject;
    });
}

/** As a regular expression that is found nowhere else. */
const literally = (text: string): string => text.replaceAll(/[^\w ]/g, "\\$&");
