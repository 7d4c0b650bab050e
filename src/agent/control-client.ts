// SPDX-License-Identifier: Apache-2.0
// The other end of the agent's control socket: what commands ask a living agent.

import { request } from "node:http";
import { join } from "node:path";

const ANSWER_MS = 5_000;

export const controlSocket = (runDir: string): string => join(runDir, "portolan.sock");

/** An agent listens, and its answer is none. */
export class AgentSilent extends Error {
  constructor(socketPath: string, what: string) {
    super(`the agent at ${socketPath} ${what}`);
    this.name = "AgentSilent";
  }
}

/** The agent's answer to GET `path`, or null if no agent listens there. Throws AgentSilent, and EACCES. */
export function askAgent<T>(runDir: string, path: string): Promise<T | null> {
  return new Promise((resolve, reject) => {
    const socketPath = controlSocket(runDir);
    const asked = request({ socketPath, path, timeout: ANSWER_MS }, (response) => {
      response.setEncoding("utf8");
      let body = "";
      response.on("data", (part: string) => {
        body += part;
      });
      response.on("error", reject);
      response.on("end", () => {
        if (response.statusCode === 200) resolve(JSON.parse(body) as T);
        else reject(new AgentSilent(socketPath, `answered ${response.statusCode}: ${body.trim()}`));
      });
    });
    asked.on("timeout", () => asked.destroy(new AgentSilent(socketPath, `did not answer in ${ANSWER_MS} ms`)));
    asked.on("error", (error: NodeJS.ErrnoException) => {
      // No socket, nobody behind it, or no directory: no agent. EACCES is for the caller to hear of.
      if (error.code === "ENOENT" || error.code === "ECONNREFUSED" || error.code === "ENOTDIR") resolve(null);
      else reject(error);
    });
    asked.end();
  });
}
