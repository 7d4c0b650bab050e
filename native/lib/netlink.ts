// SPDX-License-Identifier: Apache-2.0
// Raw netlink sockets: whole datagrams, encoded and parsed by the caller.
import { addon, type NativeNetlinkSocket } from "./addon.ts";
import { collected } from "./collected.ts";
import type { BpfError } from "./error.ts";

const RECEIVE_TIMEOUT_MS = 1000;

/** Talks to the kernel alone: what other processes send to its port is thrown away. */
export class NetlinkSocket implements Disposable {
  readonly #native: NativeNetlinkSocket;

  /** groups: a bit mask of multicast groups to join (RTMGRP_*). */
  constructor(protocol: number, groups = 0) {
    this.#native = new addon.NetlinkSocket(protocol, groups);
  }

  get portId(): number {
    return this.#native.portId;
  }

  send(message: Uint8Array): void {
    this.#native.send(message);
  }

  /** The next datagram, waited for; null if none came in time. ENOBUFS: some were lost, what follows is whole. */
  receive(timeoutMs = RECEIVE_TIMEOUT_MS): Uint8Array | null {
    return this.#native.receive(timeoutMs);
  }

  /**
   * Calls handler for every datagram, on the event loop, until close. onError hears of a failed read (ENOBUFS: messages
   * were lost, ask for the whole state again); without it the error becomes an uncaught exception.
   */
  onMessage(handler: (data: Uint8Array) => void, onError?: (error: BpfError) => void): void {
    this.#native.onMessage((error, data) => {
      if (data !== null) {
        handler(data);
      } else if (error !== null) {
        if (onError === undefined) throw error;
        onError(error);
      }
    });
  }

  ref(): void {
    this.#native.ref();
  }

  unref(): void {
    this.#native.unref();
  }

  /** May be called more than once. */
  close(): void {
    this.#native.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * Sends each message of requests in turn, on a socket and a worker thread of its own, and collects what comes back
 * until each has had its NLMSG_DONE or NLMSG_ERROR (ask for NLM_F_ACK or a dump). netns: in which network namespace, a
 * path like /run/netns/NAME. ETIMEDOUT: the kernel had not answered after two seconds; EFBIG: more than 32 MiB.
 */
export function netlinkExchange(
  protocol: number,
  requests: Uint8Array,
  options: { netns?: string } = {},
): Promise<Uint8Array> {
  return collected((done) => addon.netlinkExchange(protocol, requests, options.netns ?? "", done));
}
