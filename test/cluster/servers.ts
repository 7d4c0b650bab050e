// SPDX-License-Identifier: Apache-2.0
// What probes, dashboards and `kubectl get events` find on a node whose proxy is portolan.

import { eventually } from "../support/daemon.ts";
import type { Checks } from "./checks.ts";
import type { Cluster } from "./cluster.ts";
import type { ClusterNode } from "./node.ts";

const get = `
const response = await fetch(process.argv[1]);
console.log(response.status + "\\n" + (await response.text()));`;

/** Asks on the node itself; gives status and body. */
async function fetchOn(node: ClusterNode, url: string): Promise<{ readonly status: string; readonly body: string }> {
  const answer = await node.run(["/opt/portolan/lib/portolan/node", "--input-type=module", "--eval", get, url]);
  const end = answer.indexOf("\n");
  return { status: answer.slice(0, end), body: answer.slice(end + 1).trimEnd() };
}

async function expectAnswer(node: ClusterNode, url: string, words: readonly string[]): Promise<string> {
  const { status, body } = await fetchOn(node, url);
  const missing = words.filter((word) => !body.includes(word));
  if (status !== "200" || missing.length > 0) throw new Error(`${status}, without ${missing.join(", ")}: ${body}`);
  return body.length > 120 ? `${body.length} bytes` : body;
}

/** Health and metrics servers of one node's agent, and the Event of its start. */
export async function checkServers(checks: Checks, cluster: Cluster, node: ClusterNode): Promise<void> {
  const healthy = ['"healthy":true', '"status":{"IPv4":', '"IPv6":'];
  const metrics = ["kubeproxy_sync_proxy_rules_last_timestamp_seconds", "portolan_"];
  const wanted: readonly (readonly [string, readonly string[]])[] = [
    [`http://${node.ipv4}:10256/healthz`, [...healthy, '"nodeEligible":true']],
    [`http://[${node.ipv6}]:10256/livez`, healthy],
    ["http://127.0.0.1:10249/metrics", metrics],
    ["http://127.0.0.1:10249/proxyMode", ["portolan"]],
    ["http://127.0.0.1:10249/configz", ['{"kubeproxy.config.k8s.io":{"kind":"KubeProxyConfiguration"']],
  ];
  for (const [url, words] of wanted) await checks.check(`${node.name}, ${url}`, () => expectAnswer(node, url, words));
  await checks.check(`${node.name}, Event of the start`, async () => {
    const selector = `--field-selector=reason=Starting,regarding.kind=Node,regarding.name=${node.name}`;
    const columns = "-o=jsonpath={range .items[*]}{.reportingController} {.reportingInstance}{'\\n'}{end}";
    return await eventually("one of kube-proxy's kind", async () => {
      const events = await cluster.kubectl(["get", "events.events.k8s.io", "--namespace=default", selector, columns]);
      return events.split("\n").find((text) => text.startsWith("kube-proxy "));
    });
  });
}
