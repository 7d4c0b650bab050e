// SPDX-License-Identifier: Apache-2.0
// Which API server to ask: an explicit list, the configured one, and the addresses behind the `kubernetes` Service,
// remembered on disk. The Service's own address comes last: it works only while portolan does.

import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { canonicalAddress } from "../model/address.ts";
import { isObject, member } from "./decode/field.ts";

/** What the cluster said of its own API servers. */
export interface KnownServers {
  /** https URLs of the endpoints of default/kubernetes. */
  readonly endpoints: readonly string[];
  /** Addresses of the Service default/kubernetes. */
  readonly serviceAddresses: readonly string[];
}

export interface ServerPoolOptions {
  readonly explicit: readonly string[];
  readonly configured: string;
  /** The configured one is a Service's address whatever is known of that. */
  readonly configuredIsService: boolean;
  readonly known: KnownServers;
}

export class ServerPool {
  readonly #options: ServerPoolOptions;
  #servers: readonly string[];
  #index = 0;

  constructor(options: ServerPoolOptions) {
    this.#options = options;
    this.#servers = this.#order(options.known);
  }

  get current(): string {
    return this.#servers[this.#index] ?? this.#options.configured;
  }

  get all(): readonly string[] {
    return this.#servers;
  }

  /** The server did not answer: whoever asks next is sent to another. Told by several, it moves on once. */
  failed(server: string): void {
    if (server === this.current) this.#index = (this.#index + 1) % this.#servers.length;
  }

  /** The cluster's own word on its servers; a server in use stays, unless it is the Service's address. */
  learn(known: KnownServers): void {
    const current = this.current;
    this.#servers = this.#order(known);
    const index = this.#servers.indexOf(current);
    const avoidable = known.endpoints.length > 0 && this.#isService(current, known);
    this.#index = index < 0 || avoidable ? 0 : index;
  }

  #order(known: KnownServers): readonly string[] {
    const { explicit, configured } = this.#options;
    const order = this.#isService(configured, known)
      ? [...explicit, ...known.endpoints, configured]
      : [...explicit, configured, ...known.endpoints];
    return [...new Set(order)];
  }

  #isService(server: string, known: KnownServers): boolean {
    if (server !== this.#options.configured) return false;
    if (this.#options.configuredIsService) return true;
    const host = canonicalAddress(new URL(server).hostname.replace(/^\[|\]$/g, ""));
    return host !== null && known.serviceAddresses.includes(host);
  }
}

const FILE = "api-servers.json";
const NONE: KnownServers = { endpoints: [], serviceAddresses: [] };

/** What an earlier run remembered; nothing if the file is absent or not as written. */
export function recallServers(stateDir: string): KnownServers {
  try {
    const value: unknown = JSON.parse(readFileSync(join(stateDir, FILE), "utf8"));
    if (!isObject(value)) return NONE;
    return {
      endpoints: strings(member(value, "endpoints")).filter((url) => URL.canParse(url) && url.startsWith("https:")),
      serviceAddresses: strings(member(value, "serviceAddresses")),
    };
  } catch {
    return NONE;
  }
}

function strings(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];
}

/** Throws what the file system throws. The file is whole or the old one at any moment. */
export function rememberServers(stateDir: string, known: KnownServers): void {
  mkdirSync(stateDir, { recursive: true, mode: 0o755 });
  const file = join(stateDir, FILE);
  writeFileSync(`${file}.new`, `${JSON.stringify(known, null, 2)}\n`, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}
