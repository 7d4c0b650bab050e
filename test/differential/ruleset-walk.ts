// SPDX-License-Identifier: Apache-2.0
// The way of one new connection's first packet through an nftables table, hook by hook: where it would be sent, or what
// else becomes of it. Chance is replaced by its every outcome.

import { BlockList, isIPv6 } from "node:net";
import { place } from "../support/scenario.ts";
import type { Call, Decision } from "./decision.ts";
import { isObject, type Json, type JsonObject, keyOf, type Ruleset } from "./ruleset.ts";

/** Hooks in the order in which a packet meets them, which depends on whose address it bears then. */
type Hook = "prerouting" | "input" | "forward" | "output";

type Verdict = "drop" | "reject" | "accept";

/** What there is to know about one packet on its way. */
interface Packet {
  readonly source: string;
  readonly protocol: string;
  /** Of a process of this machine, whose source is one of its addresses. */
  readonly isOutgoing: boolean;
  address: string;
  port: number;
  /** Where chance has a choice, this one is taken. */
  readonly choice: number;
  /** Among how many it was. */
  choices: number;
  isTranslated: boolean;
  /** It is past where it could be translated. */
  isSettled: boolean;
  affinitySec: number;
}

export class RulesetWalk {
  readonly #rules: Ruleset;
  readonly #isLocal: (address: string) => boolean;

  /** `isLocal` tells the addresses of the machine. */
  constructor(rules: Ruleset, isLocal: (address: string) => boolean) {
    this.#rules = rules;
    this.#isLocal = isLocal;
  }

  decide(call: Call): Decision {
    const endpoints = new Set<string>();
    let affinitySec = 0;
    for (let choice = 0, choices = 1; choice < choices; choice++) {
      const packet = packetOf(call, choice);
      const verdict = this.#follow(packet);
      choices = packet.choices;
      const isEnd = verdict === "drop" || verdict === "reject";
      if (isEnd && choices === 1) return { answer: verdict };
      if (!packet.isTranslated) return { answer: "nothing" };
      // Whoever is sent to an endpoint at a Service's address is dropped on the way.
      endpoints.add(isEnd ? verdict : place(packet.address, packet.port));
      affinitySec = packet.affinitySec;
    }
    return { answer: "endpoints", endpoints: [...endpoints].sort(), affinitySec };
  }

  /** A packet of the machine to the machine comes in by loopback; its translation is settled then. */
  #follow(packet: Packet): Verdict {
    const first = this.#pass(packet.isOutgoing ? "output" : "prerouting", packet);
    const isLocal = this.#isLocal(packet.address);
    if (first !== "accept" || (packet.isOutgoing && !isLocal)) return first;
    packet.isSettled = true;
    const again = packet.isOutgoing ? this.#pass("prerouting", packet) : first;
    return again === "accept" ? this.#pass(isLocal ? "input" : "forward", packet) : again;
  }

  #pass(hook: Hook, packet: Packet): Verdict {
    for (const base of this.#rules.bases) {
      if (base.hook !== hook || (packet.isSettled && base.type === "nat")) continue;
      const verdict = this.#chain(base.name, packet);
      if (verdict === "drop" || verdict === "reject") return verdict;
    }
    return "accept";
  }

  /** Null: the packet came to its end. */
  #chain(name: string, packet: Packet): Verdict | null {
    const rules = this.#rules.chains.get(name);
    if (rules === undefined) throw new Error(`there is no chain ${name}`);
    for (const statements of rules) {
      const verdict = this.#rule(statements, packet);
      if (verdict === "return") return null;
      if (verdict !== null) return verdict === "left" ? null : verdict;
    }
    return null;
  }

  /** Null: on to the next rule. "left": a goto's chain came to its end. */
  #rule(statements: readonly JsonObject[], packet: Packet): Verdict | "return" | "left" | null {
    for (const statement of statements) {
      const [kind = "", body = null] = Object.entries(statement)[0] ?? [];
      if (kind === "match") {
        if (!this.#matches(body as JsonObject, packet)) return null;
      } else if (kind === "vmap") {
        const verdict = this.#lookUp(body as JsonObject, packet);
        if (isObject(verdict)) return this.#verdict(verdict, packet);
      } else if (kind === "set") this.#remember(body as JsonObject, packet);
      else if (kind !== "mangle" && kind !== "counter") return this.#verdict(statement, packet);
    }
    return null;
  }

  #verdict(statement: JsonObject, packet: Packet): Verdict | "return" | "left" | null {
    const [kind = "", body = null] = Object.entries(statement)[0] ?? [];
    if (kind === "jump") return this.#chain(targetOf(body), packet);
    if (kind === "goto") return this.#chain(targetOf(body), packet) ?? "left";
    if (kind === "drop" || kind === "reject" || kind === "accept" || kind === "return") return kind;
    if (kind !== "dnat" || !isObject(body)) throw new Error(`unknown statement ${JSON.stringify(statement)}`);
    this.#translate(body, packet);
    return "accept";
  }

  /** To an address and port, or to those that chance takes from a map. */
  #translate({ addr = null, port = null }: JsonObject, packet: Packet): void {
    const { map } = isObject(addr) ? addr : {};
    const chosen = isObject(map) ? this.#lookUp(map, packet) : { concat: [addr, port] };
    const [to, at] = (isObject(chosen) ? chosen["concat"] : null) as readonly [Json, Json];
    packet.address = String(to);
    packet.port = Number(at);
    packet.isTranslated = true;
  }

  #remember({ set }: JsonObject, packet: Packet): void {
    packet.affinitySec = this.#named(set ?? null).timeoutSec;
  }

  #named(reference: Json) {
    const found = this.#rules.sets.get(String(reference).replace(/^@/, ""));
    if (found === undefined) throw new Error(`there is no set ${String(reference)}`);
    return found;
  }

  /** Undefined: the map has nothing for this packet. */
  #lookUp({ key = null, data = null }: JsonObject, packet: Packet): Json | undefined {
    const value = this.#value(key, packet);
    if (typeof data === "string") return this.#named(data).exact.get(value);
    const entries = (isObject(data) ? data["set"] : null) as readonly (readonly [Json, Json])[];
    return entries.find(([from]) => keyOf(from) === value)?.[1];
  }

  #matches({ op, left = null, right = null }: JsonObject, packet: Packet): boolean {
    const value = this.#value(left, packet);
    const holds = this.#holds(right, value);
    if (op === "!=") return !holds;
    if (op === "==" || op === "in") return holds;
    throw new Error(`unknown comparison ${String(op)}`);
  }

  #holds(right: Json, value: string): boolean {
    if (typeof right === "string" && right.startsWith("@")) {
      const { exact, wide } = this.#named(right);
      // Nobody has called yet.
      return exact.has(value) || wide.some(([key]) => this.#holds(key, value));
    }
    if (!isObject(right)) return keyOf(right) === value;
    if (Array.isArray(right["set"])) return right["set"].some((one) => this.#holds(one, value));
    const { prefix, range } = right;
    const list = new BlockList();
    const family = isIPv6(value) ? "ipv6" : "ipv4";
    if (isObject(prefix)) list.addSubnet(String(prefix["addr"]), Number(prefix["len"]), family);
    else if (Array.isArray(range)) list.addRange(String(range[0]), String(range[1]), family);
    else throw new Error(`unknown value ${JSON.stringify(right)}`);
    return list.check(value, family);
  }

  #value(expression: Json, packet: Packet): string {
    if (!isObject(expression)) return keyOf(expression);
    const { payload, meta, ct, fib, concat, numgen } = expression;
    if (Array.isArray(concat)) return concat.map((part) => this.#value(part, packet)).join(" . ");
    if (isObject(payload)) return fieldOf(payload, packet);
    if (isObject(meta) && meta["key"] === "l4proto") return packet.protocol;
    if (isObject(ct) && ct["key"] === "state") return "new";
    if (isObject(fib)) {
      const isLocal = [fib["flags"]].flat().includes("saddr")
        ? packet.isOutgoing || this.#isLocal(packet.source)
        : this.#isLocal(packet.address);
      return isLocal ? "local" : "unicast";
    }
    if (!isObject(numgen)) throw new Error(`unknown expression ${JSON.stringify(expression)}`);
    packet.choices = Number(numgen["mod"]);
    return String(packet.choice);
  }
}

function packetOf({ from, source, address, port, protocol }: Call, choice: number): Packet {
  const rest = {
    isOutgoing: from === "host",
    choice,
    choices: 1,
    isTranslated: false,
    isSettled: false,
    affinitySec: 0,
  };
  return { source, protocol: protocol.toLowerCase(), address, port, ...rest };
}

const targetOf = (body: Json): string => String(isObject(body) ? body["target"] : body);

function fieldOf({ field, protocol }: JsonObject, packet: Packet): string {
  if (field === "saddr") return packet.source;
  if (field === "daddr") return packet.address;
  // A port of another protocol is none of this packet's.
  if (field === "dport") return protocol === "th" || protocol === packet.protocol ? String(packet.port) : "";
  throw new Error(`unknown field ${String(field)}`);
}
