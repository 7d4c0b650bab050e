// SPDX-License-Identifier: Apache-2.0
// The requests of a reflector, one at a time: what is asked, how the answer is read, how far it got. Decides nothing
// about failures: it throws them (api-error.ts).

import type { IncomingMessage } from "node:http";
import type { ApiClient } from "./api-client.ts";
import { CorruptStreamError, InterruptedError, MassDeletionError, StatusError, WentBackError } from "./api-error.ts";
import { readBody } from "./body-reader.ts";
import type { Clock } from "./clock.ts";
import { isObject, type JsonObject, member, objectMember } from "./decode/field.ts";
import { type Delivery, KnownObjects, keyOf, type Snapshot, versionOf } from "./known-objects.ts";
import { LineSplitter } from "./line-splitter.ts";
import { ListScanner } from "./list-scanner.ts";

export interface Resource<T> extends Delivery<T> {
  /** "/api/v1/services". */
  readonly path: string;
  readonly labelSelector: string | null;
  /** Left out for a server that refuses it: decode filters again anyway. */
  readonly fieldSelector: string | null;
  /** All objects have been delivered once. */
  readonly synced: () => void;
  /** A relist is through, and what it lacked is gone. */
  readonly relisted?: () => void;
}

export interface ListWatchOptions<T> {
  readonly resource: Resource<T>;
  readonly client: ApiClient;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** A relist that lacks most of what was known takes nothing away: it throws MassDeletionError. */
  readonly holdsMassDeletion: boolean;
  /** The server answered a request with 200. */
  readonly onOpen: (server: string) => void;
}

/** Where to ask, and what not to ask of that server. */
export interface Target {
  readonly server: string;
  readonly fieldSelector: boolean;
  /** The form of the answer. */
  readonly accept?: string;
}

const PAGE_LIMIT = 500;
/** etcd holds objects to 1.5 MiB; as JSON with every byte escaped they stay below this. */
const MAX_OBJECT_BYTES = 8 << 20;
/** A live server sends a bookmark every minute; a silent one is to be found within a minute and a half. */
const IDLE_MS = 80_000;
const WATCH_SEC = 300;
const HEALTHY_MS = 1_000;
const JSON_TYPE = "application/json";
/** A tenth of the bytes; a server that cannot do it sends whole objects. */
const NAMES_ONLY = `${JSON_TYPE};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,${JSON_TYPE}`;

export class ListWatch<T> {
  readonly objects: KnownObjects<T>;
  readonly counters = { relists: 0, pages: 0, reconnects: 0, bookmarks: 0 };
  readonly #options: ListWatchOptions<T>;
  #version: string | null = null;
  #toldUpTo = "";
  #synced = false;
  #lastHeardNs = 0n;
  #initial = false;
  #watches = 0;
  #response: IncomingMessage | null = null;
  #interrupted = false;
  #openedMs = Number.POSITIVE_INFINITY;
  #delivered = false;
  /** The present or last watch has sent something. */
  #heard = false;

  constructor(options: ListWatchOptions<T>) {
    this.#options = options;
    this.objects = new KnownObjects(options.resource, options.holdsMassDeletion);
  }

  /** Resource version to go on from; null if only a relist helps. */
  get version(): string | null {
    return this.#version;
  }

  get synced(): boolean {
    return this.#synced;
  }

  get lastHeardNs(): bigint {
    return this.#lastHeardNs;
  }

  /** The stream is at, or broke in, the initial events of a watch-list. */
  get initial(): boolean {
    return this.#initial;
  }

  /** The present or last watch lived a second, or told something new. */
  get healthy(): boolean {
    return this.#delivered || this.livedLong;
  }

  /** The present or last watch has not sent a byte. */
  get unheard(): boolean {
    return !this.#heard;
  }

  get livedLong(): boolean {
    return this.openForMs >= HEALTHY_MS;
  }

  /** Milliseconds since the present or last watch began; negative if there is none. */
  get openForMs(): number {
    return this.#options.clock.now() - this.#openedMs;
  }

  /** The version up to which the watch has told everything; "" before the first relist is through. */
  get toldUpTo(): string {
    return this.#toldUpTo;
  }

  /** What is known of the server's state cannot be continued. The objects stay until a relist is through. */
  forgetVersion(): void {
    this.#version = null;
  }

  /** What was listed and told so far is doubted: a list that has more of it shows no fault of the watch. */
  forgetTold(): void {
    this.#toldUpTo = "";
  }

  /** Ends the watch with an InterruptedError, now or when it is asked for: a relist comes next. */
  interrupt(): void {
    this.#interrupted = true;
    this.#response?.destroy(new InterruptedError("a relist is wanted"));
  }

  /** Initial events and then the watch, in one stream. Answers when the server ends it after the initial events. */
  async watchList(target: Target): Promise<void> {
    this.#beginRelist();
    this.#initial = true;
    await this.#stream(target, {
      sendInitialEvents: "true",
      resourceVersionMatch: "NotOlderThan",
      resourceVersion: "",
    });
    if (this.#initial) throw new CorruptStreamError("the watch ended before its initial events did");
  }

  /** Everything since `version`. Answers when the server ends it. */
  async watch(target: Target): Promise<void> {
    if (this.#interrupted) throw new InterruptedError("a relist is wanted");
    this.#initial = false;
    if (this.#watches++ > 0) this.counters.reconnects++;
    await this.#stream(target, { resourceVersion: this.#version ?? "" });
  }

  /** A consistent list, `paged` or in one response. Afterwards `version` is set. */
  async list(target: Target, paged: boolean): Promise<void> {
    this.#beginRelist();
    this.#initial = false;
    this.#noWatch();
    const version = await this.#pages(target, paged, (response) => this.#page(response));
    this.#endRelist(version, process.hrtime.bigint());
  }

  /** Throws WentBackError if the server's storage is at a version before ours. */
  async checkVersion(target: Target): Promise<void> {
    const query = { limit: "1" };
    const first = await this.#items(await this.#get({ ...target, accept: NAMES_ONLY }, query), () => undefined);
    this.#expectAfter(versionOf(first), "a list");
  }

  /** A consistent list beside the watch, of names and versions. Changes nothing. */
  async snapshot(target: Target): Promise<Snapshot> {
    const objects = new Map<string, string>();
    const read = (response: IncomingMessage) =>
      this.#items(response, (item) => objects.set(keyOf(item), versionOf(item)));
    const version = await this.#pages({ ...target, accept: NAMES_ONLY }, true, read);
    return { version, objects };
  }

  /** Page after page; answers the version of the list. `read` answers what stands around a page's items. */
  async #pages(
    target: Target,
    paged: boolean,
    read: (response: IncomingMessage) => Promise<JsonObject>,
  ): Promise<string> {
    let version = "";
    let next = "";
    do {
      const query = { ...(paged ? { limit: String(PAGE_LIMIT) } : {}), continue: next };
      const page = await read(await this.#get(target, query));
      version ||= versionOf(page);
      const token = member(objectMember(page, "metadata") ?? {}, "continue");
      next = typeof token === "string" ? token : "";
    } while (next !== "");
    if (version === "") throw new CorruptStreamError("a list without resourceVersion");
    return version;
  }

  #beginRelist(): void {
    this.#interrupted = false;
    if (this.#synced) this.counters.relists++;
    this.objects.beginRelist(this.#toldUpTo);
  }

  #endRelist(version: string, receivedNs: bigint): void {
    const { resource } = this.#options;
    this.#initial = false;
    const before = this.#toldUpTo;
    if (isBefore(version, before)) {
      this.objects.distrust();
      this.#advance(version);
      throw new WentBackError("a list", version, before);
    }
    const held = this.objects.endRelist(receivedNs);
    if (this.objects.distrusted) this.interrupt();
    if (held !== null) throw new MassDeletionError(held.missing, held.of);
    this.#advance(version);
    resource.relisted?.();
    if (this.#synced) return;
    this.#synced = true;
    resource.synced();
  }

  #expectAfter(version: string, what: string): void {
    if (isBefore(version, this.#toldUpTo)) throw new WentBackError(what, version, this.#toldUpTo);
  }

  #advance(version: string): void {
    if (version === "") return;
    this.#version = version;
    this.#toldUpTo = version;
  }

  #noWatch(): void {
    this.#openedMs = Number.POSITIVE_INFINITY;
    this.#delivered = false;
    this.#heard = false;
  }

  /** A page of a relist. */
  #page(response: IncomingMessage): Promise<JsonObject> {
    this.counters.pages++;
    this.#response = response;
    return this.#items(response, (item, receivedNs) => {
      this.#lastHeardNs = receivedNs;
      this.objects.listed(item, receivedNs);
    });
  }

  /** Each item of a list response; answers what stands around them. */
  async #items(response: IncomingMessage, take: (item: JsonObject, ns: bigint) => void): Promise<JsonObject> {
    let receivedNs = 0n;
    const scanner = new ListScanner(MAX_OBJECT_BYTES, (json) => {
      const item = parse(json);
      if (!isObject(item)) throw new CorruptStreamError("an item that is no object");
      take(item, receivedNs);
    });
    await readBody(response, this.#reading(), (chunk, ns) => {
      receivedNs = ns;
      scanner.push(chunk);
    });
    const envelope = parse(scanner.end());
    if (!isObject(envelope)) throw new CorruptStreamError("a list that is no object");
    return envelope;
  }

  async #stream(target: Target, query: Record<string, string>): Promise<void> {
    this.#noWatch();
    const seconds = WATCH_SEC + Math.floor(this.#options.clock.random() * WATCH_SEC);
    const response = await this.#get(target, {
      ...query,
      watch: "true",
      allowWatchBookmarks: "true",
      timeoutSeconds: String(seconds),
    });
    this.#response = response;
    if (this.#interrupted) this.interrupt();
    if (!this.#initial) this.#openedMs = this.#options.clock.now();
    let receivedNs = 0n;
    const lines = new LineSplitter(MAX_OBJECT_BYTES, (line) => this.#event(line, receivedNs));
    await readBody(response, this.#reading(), (chunk, ns) => {
      this.#lastHeardNs = receivedNs = ns;
      this.#heard = true;
      lines.push(chunk);
    });
    if (lines.pending > 0) throw new CorruptStreamError("the watch ended in the middle of a line");
  }

  async #get(target: Target, query: Record<string, string>) {
    const { resource, client, signal, onOpen } = this.#options;
    const parameters = new URLSearchParams();
    if (resource.labelSelector !== null) parameters.set("labelSelector", resource.labelSelector);
    if (resource.fieldSelector !== null && target.fieldSelector)
      parameters.set("fieldSelector", resource.fieldSelector);
    for (const [name, value] of Object.entries(query)) if (value !== "") parameters.set(name, value);
    const path = `${resource.path}?${parameters}`;
    const response = await client.get(target.server, path, { signal, accept: target.accept ?? JSON_TYPE });
    onOpen(target.server);
    return response;
  }

  #reading() {
    return { clock: this.#options.clock, idleMs: IDLE_MS };
  }

  #event(line: Buffer, receivedNs: bigint): void {
    const event = parse(line);
    const object = isObject(event) ? objectMember(event, "object") : undefined;
    if (!isObject(event) || object === undefined) throw new CorruptStreamError("an event without an object");
    const type = member(event, "type");
    if (!this.#initial && type !== "ERROR") this.#expectAfter(versionOf(object), "an event");
    switch (type) {
      case "ADDED":
      case "MODIFIED":
        if (this.#initial) this.objects.listed(object, receivedNs);
        else this.#change(object, receivedNs);
        break;
      case "DELETED":
        this.objects.deleted(object, receivedNs);
        if (!this.#initial) this.#told(object);
        break;
      case "BOOKMARK":
        this.#bookmark(object, receivedNs);
        break;
      case "ERROR":
        throw errorOf(object);
      default:
        throw new CorruptStreamError(`an event of type ${JSON.stringify(type)}`);
    }
  }

  #change(object: JsonObject, receivedNs: bigint): void {
    this.objects.changed(object, receivedNs);
    this.#told(object);
  }

  #told(object: JsonObject): void {
    this.#delivered = true;
    this.#advance(versionOf(object));
  }

  #bookmark(object: JsonObject, receivedNs: bigint): void {
    this.counters.bookmarks++;
    if (!this.#initial) {
      this.#advance(versionOf(object));
      return;
    }
    const annotations = objectMember(objectMember(object, "metadata") ?? {}, "annotations") ?? {};
    if (member(annotations, "k8s.io/initial-events-end") !== "true")
      throw new CorruptStreamError("a bookmark among the initial events: the server does not know that these end");
    const version = versionOf(object);
    if (version === "") throw new CorruptStreamError("a bookmark without resourceVersion");
    this.#openedMs = this.#options.clock.now();
    this.#watches++;
    this.#endRelist(version, receivedNs);
  }
}

function parse(json: Buffer): unknown {
  try {
    return JSON.parse(json.toString("utf8"));
  } catch (error) {
    throw new CorruptStreamError(`not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** Versions are numbers that grow; of "" nothing is said. */
function isBefore(version: string, other: string): boolean {
  return version !== "" && Number(version) < Number(other);
}

function errorOf(status: JsonObject): StatusError {
  const code = member(status, "code");
  const message = member(status, "message");
  const number = typeof code === "number" ? code : 500;
  const text = `${number} ${typeof message === "string" ? message.slice(0, 500) : "no message"}`;
  return new StatusError(number, text, { retryAfterMs: null, inStream: true });
}
