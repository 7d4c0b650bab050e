// SPDX-License-Identifier: Apache-2.0
// Objects put into a real API server and taken out again, in milliseconds. Its process lives where the API server can be
// reached.

import { fileURLToPath } from "node:url";
import type { Place } from "../support/daemon.ts";
import type { Kubeconfig } from "../support/kube.ts";
import { LineProcess } from "../support/line-process.ts";

export interface ApiRequest {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly path: string;
  readonly body?: object;
}

export interface ApiAnswer {
  readonly status: number;
  readonly body: {
    readonly message?: string;
    readonly metadata?: { readonly resourceVersion?: string };
    readonly items?: readonly unknown[];
  };
}

/** The API server will not have the object. */
export class Refused extends Error {
  override readonly name = "Refused";
}

export interface ApiObject {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly status?: object;
}

const script = fileURLToPath(new URL("./api-client-process.ts", import.meta.url));

const COLLECTIONS: Readonly<Record<string, string>> = {
  Namespace: "/api/v1/namespaces",
  Node: "/api/v1/nodes",
  Service: "/api/v1/namespaces/NAMESPACE/services",
  EndpointSlice: "/apis/discovery.k8s.io/v1/namespaces/NAMESPACE/endpointslices",
  ServiceCIDR: "/apis/networking.k8s.io/v1/servicecidrs",
};

function collectionOf({ kind, metadata }: ApiObject): string {
  return (COLLECTIONS[kind] ?? "").replace("NAMESPACE", metadata.namespace ?? "");
}

export class ApiClient {
  readonly #process: LineProcess;

  constructor(user: Kubeconfig, place: Place) {
    this.#process = new LineProcess("API client", [script, JSON.stringify(user)], place);
  }

  /**
   * Makes the object, or puts it in the place of what has its name; its status too, where it has one. A change that is
   * not allowed is made by deleting and making anew. Throws Refused with the API server's words.
   */
  async apply(object: ApiObject): Promise<void> {
    const path = `${collectionOf(object)}/${object.metadata.name}`;
    const { status: found, body } = await this.#ask({ method: "GET", path });
    if (found === 404) await this.#create(object);
    else {
      const { resourceVersion } = body.metadata ?? {};
      const changed = { ...object, metadata: { ...object.metadata, resourceVersion } };
      const { status } = await this.#ask({ method: "PUT", path, body: changed });
      if (status === 422) {
        await this.delete(object);
        await this.#create(object);
      } else if (status !== 200) throw new Error(`${path}: PUT gives ${status}`);
    }
    if (object.status) await this.#put(`${path}/status`, object.status);
  }

  /** Every object there is beside one of these. */
  async list<T>(like: ApiObject): Promise<readonly T[]> {
    return (await this.#demand({ method: "GET", path: collectionOf(like) })).body.items as readonly T[];
  }

  /** Takes the object out; it need not be there. */
  async delete(object: ApiObject): Promise<void> {
    await this.#ask({ method: "DELETE", path: `${collectionOf(object)}/${object.metadata.name}` });
  }

  stop(): Promise<void> {
    return this.#process.stop();
  }

  async #create(object: ApiObject): Promise<void> {
    await this.#demand({ method: "POST", path: collectionOf(object), body: object });
  }

  async #put(path: string, status: object): Promise<void> {
    await this.#demand({ method: "PATCH", path, body: { status } });
  }

  async #demand(request: ApiRequest): Promise<ApiAnswer> {
    const answer = await this.#ask(request);
    const { status, body } = answer;
    if (status === 422) throw new Refused(body.message);
    if (status >= 300) throw new Error(`${request.method} ${request.path}: ${status} ${body.message}`);
    return answer;
  }

  #ask(request: ApiRequest): Promise<ApiAnswer> {
    return this.#process.ask(request) as Promise<ApiAnswer>;
  }
}
