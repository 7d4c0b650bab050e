// SPDX-License-Identifier: Apache-2.0
// The process behind api-client.ts. node api-client-process.ts KUBECONFIG: server, CA and token as JSON.

import { Agent, request } from "node:https";
import type { Kubeconfig } from "../support/kube.ts";
import { answerLines } from "../support/line-process.ts";
import type { ApiAnswer, ApiRequest } from "./api-client.ts";

const { server, ca, token } = JSON.parse(process.argv[2] ?? "") as Kubeconfig;
// A connection that has rested is not used again: the API server may be closing it.
const agent = new Agent({ keepAlive: true, ca, maxSockets: 16, timeout: 20_000 });

function ask({ method, path, body }: ApiRequest): Promise<ApiAnswer> {
  const type = method === "PATCH" ? "application/merge-patch+json" : "application/json";
  const headers = { Authorization: `Bearer ${token}`, "Content-Type": type };
  return new Promise((resolve, reject) => {
    const options = { method, agent, headers, checkServerIdentity: () => undefined };
    const asked = request(new URL(path, server), options, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (part: string) => {
        text += part;
      });
      response.on("end", () =>
        resolve({ status: response.statusCode ?? 0, body: JSON.parse(text) as ApiAnswer["body"] }),
      );
    });
    asked.on("error", reject);
    asked.end(body === undefined ? "" : JSON.stringify(body));
  });
}

await answerLines(ask);
