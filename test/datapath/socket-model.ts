// SPDX-License-Identifier: Apache-2.0
// What sockets that call Services must see, told without the programs' means: a socket knows what it called and by whom
// it is answered, an endpoint knows since when it is one. random-sockets.test.ts holds the programs to it.

import type { Protocol } from "../../src/model/types.ts";
import { BACKENDS } from "./bed.ts";

export const FAMILIES = ["v4", "v6"] as const;
export type FamilyName = (typeof FAMILIES)[number];

export const LETTERS = ["a", "b", "c"] as const;
export type Letter = (typeof LETTERS)[number];

/** Of an endpoint: "cs" may be chosen, "s" serves who has it. */
export type Flags = "cs" | "s";

interface Endpoint {
  readonly flags: Flags;
  /** It is another one if it went and came back. */
  readonly life: number;
}

/** An endpoint as a socket remembers it. */
export interface Choice {
  readonly letter: Letter;
  readonly life: number;
}

/** A Service in one family. */
export class ModelService {
  readonly name: string;
  readonly family: FamilyName;
  readonly protocol: Protocol;
  /** ClusterIP and one external address. */
  readonly addresses: readonly [string, string];
  readonly port: number;
  readonly endpointPort: number;
  readonly hasAffinity: boolean;
  readonly endpoints = new Map<Letter, Endpoint>();
  /** By network namespace. */
  readonly affinity = new Map<string, Choice>();

  constructor(spec: Pick<ModelService, "name" | "family" | "protocol" | "port" | "hasAffinity"> & { number: number }) {
    const { name, family, protocol, port, hasAffinity, number } = spec;
    this.name = name;
    this.family = family;
    this.protocol = protocol;
    this.port = port;
    this.hasAffinity = hasAffinity;
    this.endpointPort = protocol === 17 ? 5353 : 8080;
    this.addresses =
      family === "v4" ? [`10.96.0.${number}`, `10.96.1.${number}`] : [`fd96::${number}`, `fd96:1::${number}`];
  }

  get key(): string {
    return `${this.name}/${this.family}`;
  }

  /** Endpoints that stay keep their life. */
  change(next: ReadonlyMap<Letter, Flags>, life: number): void {
    for (const letter of LETTERS) {
      const flags = next.get(letter);
      if (flags === undefined) this.endpoints.delete(letter);
      else this.endpoints.set(letter, { flags, life: this.endpoints.get(letter)?.life ?? life });
    }
  }

  /** The Service is another one: nothing of it is remembered. */
  renew(life: number): void {
    for (const [letter, { flags }] of this.endpoints) this.endpoints.set(letter, { flags, life });
    this.affinity.clear();
  }

  addressOf(letter: Letter): string {
    return BACKENDS[this.family][LETTERS.indexOf(letter)] ?? "";
  }

  is({ letter, life }: Choice, ...flags: readonly Flags[]): boolean {
    const endpoint = this.endpoints.get(letter);
    return endpoint?.life === life && flags.includes(endpoint.flags);
  }

  choiceOf(letter: Letter): Choice {
    return { letter, life: this.endpoints.get(letter)?.life ?? 0 };
  }

  /** Who may answer a new caller of this namespace; nobody: the call is refused. */
  candidates(netns: string): Letter[] {
    const chosen = LETTERS.filter((letter) => this.endpoints.get(letter)?.flags === "cs");
    const sticky = this.hasAffinity ? this.affinity.get(netns) : undefined;
    return sticky !== undefined && this.is(sticky, "cs") ? [sticky.letter] : chosen;
  }

  /** A new caller of the namespace was led there. */
  chosen(netns: string, letter: Letter): void {
    this.affinity.set(netns, this.choiceOf(letter));
  }
}

export interface Peer {
  /** "address port", as the application is shown it. */
  readonly shown: string;
  /** The endpoint behind it. */
  readonly at: Letter;
  readonly isService: boolean;
  /** The name of its answers: that of the last call to it. */
  answers: string;
}

/** A socket, whatever number of descriptors it has. */
export class ModelSocket {
  readonly kind: "tcp" | "udp";
  /** Of the socket, and of the addresses it calls: an AF_INET6 socket may speak IPv4. */
  readonly domain: "4" | "6";
  readonly family: FamilyName;
  readonly descriptors = new Set<number>();
  peer: Peer | null = null;
  /** It has called a Service, and its record is there. */
  recorded = false;
  /** TCP: whose count it is in. */
  counted: { readonly service: ModelService; readonly choice: Choice } | null = null;
  /** After AF_UNSPEC Linux leaves an AF_INET6 socket bound to its last peer. */
  haunted = false;
  /** UDP: the endpoint it keeps for a Service; null: it may or may not have one. */
  readonly #kept = new Map<ModelService, Choice | null>();

  constructor(kind: "tcp" | "udp", domain: "4" | "6", family: FamilyName) {
    this.kind = kind;
    this.domain = domain;
    this.family = family;
  }

  /** An AF_INET6 socket that speaks IPv4. */
  get isMapped(): boolean {
    return this.domain === "6" && this.family === "v4";
  }

  /** As the socket names an address of its family. */
  named(address: string): string {
    return this.isMapped ? `::ffff:${address}` : address;
  }

  keeps(service: ModelService, letter: Letter): void {
    this.#kept.set(service, service.choiceOf(letter));
  }

  /** Of what it kept, only what the next call shows is sure to be left. */
  forgets(): void {
    for (const service of this.#kept.keys()) this.#kept.set(service, null);
  }

  isUnsureOf(service: ModelService): boolean {
    return this.#kept.get(service) === null;
  }

  /** The endpoint that it certainly keeps for the Service; undefined: none. */
  kept(service: ModelService): Letter | undefined {
    const kept = this.#kept.get(service) ?? null;
    return kept !== null && service.is(kept, "cs", "s") ? kept.letter : undefined;
  }
}
