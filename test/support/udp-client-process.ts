// SPDX-License-Identifier: Apache-2.0
// Clients as resolvers are: a connected UDP socket to each target, a datagram every 50 ms; after an error it opens a new
// one (with --keep: goes on with the same). Prints every connect, every answer's first word and every error as a line of JSON.
//   node udp-client-process.ts [--keep] FAMILY/ADDRESS/PORT/ANYTHING ...

import { createSocket, type Socket } from "node:dgram";

const EVERY_MS = 50;
const keep = process.argv.includes("--keep");

class Client {
  readonly #target: string;
  #socket: Socket | null = null;
  #connected = false;

  constructor(target: string) {
    this.#target = target;
    setInterval(() => this.#turn(), EVERY_MS);
  }

  #turn(): void {
    const socket = this.#socket;
    if (socket === null) this.#open();
    else if (this.#connected) socket.send("x", (error) => error && this.#fail(socket, error));
  }

  #open(): void {
    const [family, address = "", port] = this.#target.split("/");
    const socket = createSocket(family === "4" ? "udp4" : "udp6");
    this.#socket = socket;
    this.#connected = false;
    socket.on("error", (error) => this.#fail(socket, error));
    socket.on("message", (data) => this.#say({ by: String(data).split(":")[0] }));
    // A refused connect() is told to the callback, which is typed as if it never was.
    socket.connect(Number(port), address, (error?: Error) => {
      if (error) this.#fail(socket, error, true);
      else {
        this.#connected = true;
        this.#say({ connected: true });
      }
    });
  }

  #fail(socket: Socket, error: NodeJS.ErrnoException, always = false): void {
    if (socket !== this.#socket) return;
    this.#say({ error: error.code });
    if (keep && !always) return;
    socket.close();
    this.#socket = null;
  }

  #say(what: object): void {
    console.log(JSON.stringify({ target: this.#target, at: Date.now(), ...what }));
  }
}

for (const target of process.argv.slice(2)) if (target !== "--keep") new Client(target);
