// SPDX-License-Identifier: Apache-2.0
// Is that server one of the cluster whose objects are known? The Service default/kubernetes, which every API server
// keeps in its cluster, has one uid there; asked before a mass deletion is believed.

import type { ApiClient } from "./api-client.ts";
import { OtherClusterError, StatusError } from "./api-error.ts";
import { readBody } from "./body-reader.ts";
import type { Clock } from "./clock.ts";
import { isObject, member, objectMember } from "./decode/field.ts";

/** The Service in front of the API servers. */
export const API_SERVICE = { namespace: "default", name: "kubernetes", key: "default/kubernetes" };

const PATH = `/api/v1/namespaces/${API_SERVICE.namespace}/services?fieldSelector=metadata.name%3D${API_SERVICE.name}`;
const IDLE_MS = 30_000;

export class ClusterIdentity {
  readonly #client: ApiClient;
  readonly #clock: Clock;
  #uid = "";
  #seen = "";

  constructor(client: ApiClient, clock: Clock) {
    this.#client = client;
    this.#clock = clock;
  }

  /** A uid of default/kubernetes was told; by a list it counts only once the list is believed. */
  saw(uid: string, byList: boolean): void {
    this.#seen = uid;
    if (!byList) this.#uid = uid;
  }

  /** The list of Services is through, and what it lacked is gone. */
  believed(): void {
    this.#uid = this.#seen;
  }

  /** Throws OtherClusterError if this server knows another default/kubernetes or none, and what get() throws. */
  async check(server: string, signal: AbortSignal): Promise<void> {
    if (this.#uid === "") return;
    const found = await this.#ask(server, signal);
    if (found === null || found === this.#uid) return;
    const what = found === "" ? "has no" : "has another";
    throw new OtherClusterError(`${what} Service ${API_SERVICE.key}: not the cluster whose Services are known`);
  }

  /** The uid there; "" if there is none, null if the server does not let us ask. */
  async #ask(server: string, signal: AbortSignal): Promise<string | null> {
    try {
      const response = await this.#client.get(server, PATH, { signal, accept: "application/json" });
      const pieces: Buffer[] = [];
      await readBody(response, { clock: this.#clock, idleMs: IDLE_MS }, (chunk) => pieces.push(chunk));
      const list: unknown = JSON.parse(Buffer.concat(pieces).toString("utf8"));
      const items = isObject(list) ? member(list, "items") : undefined;
      const item: unknown = Array.isArray(items) ? items[0] : undefined;
      const uid = isObject(item) ? member(objectMember(item, "metadata") ?? {}, "uid") : "";
      return typeof uid === "string" ? uid : null;
    } catch (error) {
      if (error instanceof StatusError && [400, 403, 404].includes(error.status)) return null;
      throw error;
    }
  }
}
