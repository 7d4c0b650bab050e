// SPDX-License-Identifier: Apache-2.0
// What a source of Services, EndpointSlices and the node's own facts is: the API server (kubernetes.ts) or a folder
// (manifests.ts).

import type { EndpointSlice, Node, Problem, Service, ServiceKey, SliceKey } from "../model/types.ts";

export type Kind = "services" | "endpointslices";

/**
 * Where a source puts what it sees. Calls are synchronous and never throw. `receivedNs` is CLOCK_MONOTONIC
 * (process.hrtime.bigint()) when the event's bytes were read. Before `synced(kind)` an object's absence means nothing;
 * afterwards the sink holds exactly the source's objects. A relist sends deletes only for what was not seen again.
 */
export interface SourceSink {
  service(key: ServiceKey, object: Service | null, receivedNs: bigint): void;
  endpointSlice(key: SliceKey, object: EndpointSlice | null, receivedNs: bigint): void;
  /** All objects of this kind have been delivered once. Called once a kind. */
  synced(kind: Kind): void;
  /** The Node of our name; null: deleted. No kind that is waited for: it may come late or never. */
  node?(node: Node | null, receivedNs: bigint): void;
  /** Every prefix of every ServiceCIDR, sorted canonical text; told again at each change, at first once all are known. */
  serviceCidrs?(cidrs: readonly string[]): void;
  /**
   * Nothing the source holds is missing any more, so what an earlier run left in the kernel and no object explains may
   * be deleted. Called once, after both `synced`: at once by the API server, by a folder when every file in it has
   * parsed. Until then only objects that were delivered and went may be deleted.
   */
  complete?(): void;
  /** Problems of one object or file; an empty list clears what was said of it. */
  problems(kind: Problem["kind"], key: string, problems: readonly Problem[]): void;
}

export interface SourceStatus {
  /** "kubernetes" or "dir:PATH". */
  readonly source: string;
  readonly state: "starting" | "synced" | "disconnected";
  /** The server or folder in use; null before the first contact. */
  readonly peer: string | null;
  /** Why it is not synced or disconnected, in words; null if all is well. */
  readonly reason: string | null;
  /** The status with which it turns our login away, 401 or 403, though it can be reached; null while it does not. */
  readonly denied: number | null;
  /** Kinds that nobody waits for and that the server does not let us see, with its answer: "/api/v1/nodes: 403 …". */
  readonly refused: readonly string[];
  /** Monotonic ns of the last byte heard; 0n before. */
  readonly lastHeardNs: bigint;
  /** Counters by name ("relists", "reconnects", "events", "corrupt_lines", …). */
  readonly counters: Readonly<Record<string, number>>;
}

export interface Source {
  start(sink: SourceSink): void;
  /** Writes to where the objects come from; resolves to the HTTP status. Left out where nothing can be written to. */
  readonly change?: (method: "POST" | "PATCH", path: string, object: object) => Promise<number>;
  /** Reads everything once more, consistently, where a first read may have been wrong; resolves when it is delivered. */
  reread?(): Promise<void>;
  /** Ends requests and timers; resolves when nothing will call the sink any more. */
  stop(): Promise<void>;
  status(): SourceStatus;
}
