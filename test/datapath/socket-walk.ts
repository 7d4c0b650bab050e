// SPDX-License-Identifier: Apache-2.0
// A process whose sockets do what comes to their mind, and see what the model says, at each step.

import { expect } from "vitest";
import type { Random } from "../support/random.ts";
import type { Actor } from "./actor.ts";
import { BACKENDS, type Bed, type Place } from "./bed.ts";
import { FAMILIES, LETTERS, type Letter, type ModelService, ModelSocket } from "./socket-model.ts";

const SOCKETS = 10;
const ENDPOINT_PORT = { tcp: 8080, udp: 5353 } as const;
const PROTOCOL = { tcp: 6, udp: 17 } as const;

/** "address port", and who may answer; nobody: it is refused. */
interface Call {
  readonly line: string;
  /** Null: an endpoint itself, or a port that nobody has. */
  readonly service: ModelService | null;
  readonly letters: readonly Letter[];
}

export interface WalkOptions {
  readonly bed: Bed;
  readonly place: Place;
  readonly random: Random;
  readonly services: readonly ModelService[];
  /** What was done. */
  readonly history: string[];
}

export class SocketWalk {
  readonly sockets = new Set<ModelSocket>();
  readonly #options: WalkOptions;
  readonly #random: Random;
  #actor: Actor;

  constructor(options: WalkOptions) {
    this.#options = options;
    this.#random = options.random;
    this.#actor = options.bed.actor(options.place);
  }

  async step(): Promise<void> {
    const random = this.#random;
    if (this.sockets.size === 0 || (this.sockets.size < SOCKETS && random.chance(0.2))) return await this.#open();
    if (random.chance(0.004)) return await this.#rise();
    const socket = random.pick([...this.sockets]);
    if (random.chance(0.08)) return await this.#close(socket);
    if (random.chance(0.05)) return await this.#duplicate(socket);
    await (socket.kind === "tcp" ? this.#tcp(socket) : this.#udp(socket));
    await this.#expect(`peer ${this.#one(socket)}`, socket.peer === null ? "ENOTCONN" : `ok ${socket.peer.shown}`);
  }

  /** All its sockets go at once. */
  async kill(): Promise<void> {
    await this.#actor.kill();
    this.sockets.clear();
  }

  async #rise(): Promise<void> {
    const { bed, place, history } = this.#options;
    history.push(`${place}: SIGKILL`);
    await this.kill();
    this.#actor = bed.actor(place);
  }

  async #ask(line: string): Promise<string> {
    const answer = await this.#actor.ask(line);
    this.#options.history.push(`${this.#options.place}: ${line} -> ${answer}`);
    return answer;
  }

  async #expect(line: string, answer: string): Promise<void> {
    expect(await this.#ask(line), line).toBe(answer);
  }

  /** One of the socket's descriptors. */
  #one(socket: ModelSocket): number {
    return this.#random.pick([...socket.descriptors]);
  }

  #newDescriptor(): number {
    const used = new Set([...this.sockets].flatMap(({ descriptors }) => [...descriptors]));
    let free = 1;
    while (used.has(free)) free++;
    return free;
  }

  async #open(): Promise<void> {
    const family = this.#random.pick(FAMILIES);
    const domain = family === "v6" || this.#random.chance(0.4) ? "6" : "4";
    const socket = new ModelSocket(this.#random.pick(["tcp", "udp", "udp"]), domain, family);
    const descriptor = this.#newDescriptor();
    await this.#expect(`socket ${descriptor} ${socket.kind} ${domain}`, "ok");
    socket.descriptors.add(descriptor);
    this.sockets.add(socket);
  }

  async #close(socket: ModelSocket): Promise<void> {
    const descriptor = this.#one(socket);
    await this.#expect(`close ${descriptor}`, "ok");
    socket.descriptors.delete(descriptor);
    if (socket.descriptors.size === 0) this.sockets.delete(socket);
  }

  async #duplicate(socket: ModelSocket): Promise<void> {
    const descriptor = this.#newDescriptor();
    await this.#expect(`${this.#random.pick(["dup", "pass"])} ${this.#one(socket)} ${descriptor}`, "ok");
    socket.descriptors.add(descriptor);
  }

  async #tcp(socket: ModelSocket): Promise<void> {
    if (socket.peer !== null && this.#random.chance(0.7)) {
      await this.#expect(`unspec ${this.#one(socket)}`, "ok");
      socket.peer = null;
      return;
    }
    const call = this.#call(socket);
    // One that did not wait before is told only now that it is connected. Either way nothing changes.
    if (socket.peer !== null) {
      return expect(await this.#ask(`connect ${this.#one(socket)} ${call.line}`)).toMatch(/^(EISCONN|ok)$/);
    }
    socket.recorded = false;
    socket.counted = null;
    await this.#connect(socket, call.line, call.letters.length === 0 ? "ECONNREFUSED" : "ok");
    if (call.letters.length === 0) return;
    const letter = oneOf(call.letters, (await this.#ask(`read ${this.#one(socket)}`)).slice("ok ".length));
    this.#connected(socket, call, letter);
    if (call.service !== null) socket.counted = { service: call.service, choice: call.service.choiceOf(letter) };
  }

  /** Waiting or not, which is all the same in the end. */
  async #connect(socket: ModelSocket, line: string, answer: string): Promise<void> {
    const descriptor = this.#one(socket);
    const now = await this.#ask(`${this.#random.pick(["connect", "start"])} ${descriptor} ${line}`);
    if (now === "EINPROGRESS") await this.#expect(`finish ${descriptor}`, answer);
    else expect(now, line).toBe(answer);
  }

  async #udp(socket: ModelSocket): Promise<void> {
    const does = this.#random.below(10);
    if (does < 3) return await this.#udpConnect(socket);
    if (does < 4) return await this.#dissolve(socket);
    if (does < 6 && socket.peer !== null) {
      await this.#expect(`send ${this.#one(socket)} y`, "ok");
      // On an AF_INET6 socket Linux makes of it a sendto() to its IPv4 peer.
      if (socket.isMapped) socket.peer.answers = socket.peer.shown;
      expect(await this.#receive(socket, "y", socket.peer.answers)).toBe(socket.peer.at);
      return;
    }
    await this.#sendTo(socket);
  }

  async #udpConnect(socket: ModelSocket): Promise<void> {
    const call = this.#call(socket);
    const line = `connect ${this.#one(socket)} ${call.line}`;
    if (call.letters.length === 0) return await this.#expect(line, "ECONNREFUSED");
    await this.#expect(line, "ok");
    socket.forgets();
    await this.#expect(`send ${this.#one(socket)} x`, "ok");
    const letter = oneOf(call.letters, await this.#receive(socket, "x", call.line));
    this.#connected(socket, call, letter);
    socket.haunted = false;
    if (call.service !== null) socket.keeps(call.service, letter);
  }

  #connected(socket: ModelSocket, { line, service }: Call, letter: Letter): void {
    socket.peer = { shown: line, at: letter, isService: service !== null, answers: line };
    if (service === null) return;
    socket.recorded = true;
    service.chosen(this.#options.place, letter);
  }

  async #dissolve(socket: ModelSocket): Promise<void> {
    await this.#expect(`unspec ${this.#one(socket)}`, "ok");
    socket.haunted ||= socket.peer !== null && socket.domain === "6";
    socket.peer = null;
    socket.forgets();
  }

  async #sendTo(socket: ModelSocket): Promise<void> {
    const call = this.#call(socket);
    const { service } = call;
    const letters = service === null ? call.letters : this.#answerers(socket, service);
    if (letters === null || !isHeard(socket, { ...call, letters })) return;
    const line = `sendto ${this.#one(socket)} ${call.line} z`;
    if (letters.length === 0) return await this.#expect(line, "ECONNREFUSED");
    const isNew = service !== null && socket.kept(service) === undefined;
    await this.#expect(line, "ok");
    const letter = oneOf(letters, await this.#receive(socket, "z", call.line));
    if (socket.peer !== null) socket.peer.answers = call.line;
    if (service === null) return;
    socket.recorded = true;
    socket.keeps(service, letter);
    if (isNew) service.chosen(this.#options.place, letter);
  }

  /** Who may answer a datagram; null: what it leads to cannot be told. */
  #answerers(socket: ModelSocket, service: ModelService): readonly Letter[] | null {
    const anew = service.candidates(this.#options.place);
    const kept = socket.kept(service);
    if (kept !== undefined) return [kept];
    if (!socket.isUnsureOf(service)) return anew;
    return service.hasAffinity || anew.length === 0 ? null : [...service.endpoints.keys()];
  }

  /** Who answers the datagram: its text comes back, from where it was sent to. */
  async #receive(socket: ModelSocket, text: string, from: string): Promise<string> {
    const answer = await this.#ask(`${this.#random.pick(["recvfrom", "recvmsg"])} ${this.#one(socket)}`);
    const [tag = "", rest] = answer.replace(/^ok /, "").split(`:${text} `);
    expect(rest, `the sender of ${answer}`).toBe(from);
    return tag;
  }

  #call(socket: ModelSocket): Call {
    const random = this.#random;
    const { kind, family } = socket;
    const service = random.pick(this.#options.services.filter((one) => one.family === family));
    const is = random.below(10);
    if (is === 0) {
      const letter = random.pick(LETTERS);
      const address = BACKENDS[family][LETTERS.indexOf(letter)] ?? "";
      return { line: `${socket.named(address)} ${ENDPOINT_PORT[kind]}`, service: null, letters: [letter] };
    }
    const isAnother = service.protocol !== PROTOCOL[kind];
    if (isAnother || is === 1) {
      const port = isAnother ? service.port : 9;
      return { line: `${socket.named(service.addresses[0])} ${port}`, service: null, letters: [] };
    }
    const line = `${socket.named(random.pick(service.addresses))} ${service.port}`;
    return { line, service, letters: service.candidates(this.#options.place) };
  }
}

/** Whether the socket is sure to take the answer, and by which name. */
function isHeard({ haunted, peer }: ModelSocket, { service, letters }: Call): boolean {
  if (letters.length === 0) return true;
  if (haunted || peer === null) return !haunted;
  return letters.length === 1 && letters[0] === peer.at && (service !== null || !peer.isService);
}

function oneOf(letters: readonly Letter[], tag: string): Letter {
  const letter = letters.find((one) => one === tag);
  expect(letter, `${tag} is none of ${letters.join()}`).toBeDefined();
  return letter as Letter;
}
