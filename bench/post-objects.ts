// SPDX-License-Identifier: Apache-2.0
// Creates API objects by POST, many at a time: kubectl would take minutes for 20,000. Runs as a program of its own, in
// the namespace from which the API server can be reached.
//   node post-objects.ts FILE      FILE: a JSON array; standard input: {server, ca64, token}

import { readFileSync } from "node:fs";
import { Agent, request } from "node:https";

const PARALLEL = 16;

interface Target {
  readonly server: string;
  /** PEM in base64. */
  readonly ca64: string;
  readonly token: string;
}

interface ApiObject {
  readonly kind: string;
  readonly metadata: { readonly namespace: string };
}

const COLLECTIONS: Record<string, string> = {
  Service: "/api/v1/namespaces/NAMESPACE/services",
  EndpointSlice: "/apis/discovery.k8s.io/v1/namespaces/NAMESPACE/endpointslices",
};

function post(target: Target, agent: Agent, object: ApiObject): Promise<void> {
  const path = (COLLECTIONS[object.kind] ?? "").replace("NAMESPACE", object.metadata.namespace);
  const headers = { Authorization: `Bearer ${target.token}`, "Content-Type": "application/json" };
  return new Promise((resolve, reject) => {
    const call = request(new URL(path, target.server), { method: "POST", agent, headers }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (text: string) => {
        body += text;
      });
      response.on("end", () => {
        if (response.statusCode === 201) resolve();
        else reject(new Error(`${object.kind}: HTTP ${response.statusCode}: ${body}`));
      });
    });
    call.on("error", reject);
    call.end(JSON.stringify(object));
  });
}

const target = JSON.parse(readFileSync(0, "utf8")) as Target;
const objects = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as ApiObject[];
const agent = new Agent({ keepAlive: true, maxSockets: PARALLEL, ca: Buffer.from(target.ca64, "base64") });
const queue = objects.values();
await Promise.all(
  Array.from({ length: PARALLEL }, async () => {
    for (const object of queue) await post(target, agent, object);
  }),
);
agent.destroy();
