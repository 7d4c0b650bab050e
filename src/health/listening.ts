// SPDX-License-Identifier: Apache-2.0
// Opening ports: errors in the words that Go's net package has for them, and a server that keeps trying while its port
// is taken.

import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { joinHostPort, splitHostPort } from "../config/checks.ts";
import { answering, type Route } from "./answer.ts";

const RETRY_MS = 5_000;

const WORDS: Readonly<Record<string, string>> = {
  EADDRINUSE: "bind: address already in use",
  EADDRNOTAVAIL: "bind: cannot assign requested address",
  EACCES: "bind: permission denied",
};

export interface Place {
  /** An address, "0.0.0.0" or "::". */
  readonly host: string;
  readonly port: number;
  /** "tcp": a wildcard of either family accepts both. */
  readonly network: "tcp" | "tcp4" | "tcp6";
}

/** "10.0.0.1:80" or "[fd00::1]:80", which was checked before, as a place of network "tcp". */
export function placeOf(text: string): Place {
  const parts = splitHostPort(text);
  if (parts === null) throw new Error(`${text} is no place to listen at`);
  return { ...parts, network: "tcp" };
}

/** Resolves when it listens. Rejects with an Error in Go's words. */
export async function listen(server: Server, place: Place): Promise<void> {
  const wildcard = place.network === "tcp" && (place.host === "0.0.0.0" || place.host === "::");
  try {
    await bind(server, wildcard ? { ...place, host: "::" } : place);
  } catch (error) {
    const { code = "", message } = error as NodeJS.ErrnoException;
    // A kernel without IPv6 has no socket that accepts both.
    if (wildcard && (code === "EAFNOSUPPORT" || code === "EADDRNOTAVAIL")) {
      await listen(server, { ...place, host: "0.0.0.0", network: "tcp4" });
      return;
    }
    throw new Error(`listen ${place.network} ${joinHostPort(place.host, place.port)}: ${WORDS[code] ?? message}`, {
      cause: error,
    });
  }
}

function bind(server: Server, { host, port, network }: Place): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port, ipv6Only: network === "tcp6" }, () => {
      server.off("error", reject);
      // accept() without room for one more file: this one is lost, the next may not be.
      server.on("error", () => undefined);
      resolve();
    });
  });
}

/** Cuts what is open, too. */
export function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

export interface StandingOptions {
  readonly place: Place;
  readonly route: Route;
  /** Told of each try in vain. */
  readonly onFailure: (error: Error) => void;
  readonly retryMs?: number;
}

/** A server that is to be there as long as the agent. */
export class StandingServer {
  readonly #options: StandingOptions;
  #server: Server | null = null;
  #retry: NodeJS.Timeout | null = null;
  #closed = false;

  constructor(options: StandingOptions) {
    this.#options = options;
  }

  /** The first try; answers what hindered it. It is tried again until it works or is closed. */
  async open(): Promise<Error | null> {
    const server = answering(this.#options.route);
    try {
      await listen(server, this.#options.place);
    } catch (error) {
      if (this.#closed) return null;
      this.#options.onFailure(error as Error);
      this.#retry = setTimeout(() => void this.open(), this.#options.retryMs ?? RETRY_MS);
      return error as Error;
    }
    if (this.#closed) await closeServer(server);
    else this.#server = server;
    return null;
  }

  /** Where it listens, with the port that it got if it asked for any; null while it does not. */
  get address(): string | null {
    const bound = this.#server?.address() as AddressInfo | null | undefined;
    if (bound === null || bound === undefined) return null;
    return joinHostPort(this.#options.place.host, bound.port);
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (this.#retry !== null) clearTimeout(this.#retry);
    if (this.#server !== null) await closeServer(this.#server);
    this.#server = null;
  }
}
