// SPDX-License-Identifier: Apache-2.0
// One look at the API server: may this login read what the agent lives on? Reads one object of each kind, and leaves.

import { ApiClient } from "./api-client.ts";
import { StatusError } from "./api-error.ts";
import { systemClock } from "./clock.ts";
import { Credentials } from "./credentials.ts";
import { checkedServer } from "./kubeconfig.ts";

export interface ApiProbe {
  /** The server that was asked. */
  readonly server: string;
  /** HTTP status of an answer that is no yes, 0 for none at all; null: everything may be read. */
  readonly status: number | null;
  /** What was asked, and the server's or the network's words; "" if all is well. */
  readonly reason: string;
}

const PATHS = ["/api/v1/services?limit=1", "/apis/discovery.k8s.io/v1/endpointslices?limit=1"];
/** A start does not wait longer for its first answer either before it says so. */
const PATIENCE_MS = 1_500;

/** The first of `servers`, or the kubeconfig's. Throws SourceConfigError if there is no login that could be used. */
export async function probeApiServer(kubeconfig: string | null, servers: readonly string[]): Promise<ApiProbe> {
  const credentials = await Credentials.load(kubeconfig, { servers });
  const server = servers[0] === undefined ? credentials.server : checkedServer(servers[0]);
  const client = new ApiClient({ credentials, clock: systemClock });
  const signal = AbortSignal.timeout(PATIENCE_MS);
  try {
    for (const path of PATHS) (await client.get(server, path, { signal, accept: "application/json" })).destroy();
    return { server, status: null, reason: "" };
  } catch (error) {
    const { message } = error as Error;
    const reason = signal.aborted ? `no answer in ${PATIENCE_MS / 1_000} s` : message;
    return { server, status: error instanceof StatusError ? error.status : 0, reason };
  } finally {
    client.close();
  }
}
