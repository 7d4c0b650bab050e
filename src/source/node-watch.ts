// SPDX-License-Identifier: Apache-2.0
// What is watched beside Services and EndpointSlices: the Node of our name, and the ServiceCIDRs. Nobody waits for them;
// a server that has none, or does not let us see them, is no worse a source of the rest.

import type { Node } from "../model/types.ts";
import { decodeNode, decodeServiceCidr } from "./decode/decode.ts";
import type { Resource } from "./list-watch.ts";
import type { SourceSink } from "./source.ts";

/** The one Node, as kube-proxy asks for it. */
export function nodeResource(
  name: string,
  tell: NonNullable<SourceSink["node"]>,
  problems: SourceSink["problems"],
): Resource<Node> {
  return {
    kind: "Node",
    path: "/api/v1/nodes",
    labelSelector: null,
    fieldSelector: `metadata.name=${name.replace(/[\\,=]/g, "\\$&")}`,
    decode: (object) => {
      const decoded = decodeNode(object);
      // A server that refused the field selector tells of every Node.
      return decoded.key === name ? decoded : { ...decoded, object: null, problems: [] };
    },
    deliver: (_key, node, receivedNs) => tell(node, receivedNs),
    problems: (_key, found) => problems("Node", name, found),
    synced: () => undefined,
  };
}

/** All of them; what they say is told once all are known, and then at each change. */
export function serviceCidrResource(
  tell: NonNullable<SourceSink["serviceCidrs"]>,
  problems: SourceSink["problems"],
): Resource<readonly string[]> {
  const cidrs = new ServiceCidrs(tell);
  return {
    kind: "ServiceCIDR",
    path: "/apis/networking.k8s.io/v1/servicecidrs",
    labelSelector: null,
    fieldSelector: null,
    decode: decodeServiceCidr,
    deliver: (key, list) => cidrs.set(key, list),
    problems: (key, found) => problems("ServiceCIDR", key.slice(key.indexOf("/") + 1), found),
    synced: () => cidrs.synced(),
  };
}

/** The prefixes of every ServiceCIDR there is. */
export class ServiceCidrs {
  readonly #tell: NonNullable<SourceSink["serviceCidrs"]>;
  readonly #lists = new Map<string, readonly string[]>();
  #synced = false;
  #told = "[]";

  constructor(tell: NonNullable<SourceSink["serviceCidrs"]>) {
    this.#tell = tell;
  }

  /** Puts (null: removes) those of one object. */
  set(key: string, list: readonly string[] | null): void {
    if (list === null) this.#lists.delete(key);
    else this.#lists.set(key, list);
    this.#say();
  }

  /** All objects have been put once. */
  synced(): void {
    this.#synced = true;
    this.#say();
  }

  #say(): void {
    const all = [...new Set([...this.#lists.values()].flat())].sort();
    const text = JSON.stringify(all);
    if (!this.#synced || text === this.#told) return;
    this.#told = text;
    this.#tell(all);
  }
}
