// SPDX-License-Identifier: Apache-2.0
// Netlink's wire form: message headers, attributes, and a dump read to its end. What the messages mean is the caller's.

import { endianness } from "node:os";
import { NetlinkSocket } from "libbpf-ts";

const LITTLE = endianness() === "LE";
const HEADER = 16;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLM_F_REQUEST = 1;
const NLM_F_DUMP_INTERRUPTED = 0x10;
const NLM_F_DUMP = 0x300;
const TYPE_MASK = 0x3fff;
const ANSWER_MS = 1_000;

export interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  /** Without the header. */
  readonly payload: Uint8Array;
}

/** The kernel's answer to a dump was an error. `errno` is positive. */
export class NetlinkError extends Error {
  readonly errno: number;

  constructor(errno: number) {
    super(`netlink answered errno ${errno}`);
    this.name = "NetlinkError";
    this.errno = errno;
  }
}

const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const aligned = (length: number): number => (length + 3) & ~3;

/** A native-order integer inside a payload. */
export const readU32 = (bytes: Uint8Array, offset: number): number => view(bytes).getUint32(offset, LITTLE);
export const readU64 = (bytes: Uint8Array, offset: number): bigint => view(bytes).getBigUint64(offset, LITTLE);

/** The messages of one datagram; a truncated tail is left out. */
export function* messages(datagram: Uint8Array): Generator<NetlinkMessage> {
  const data = view(datagram);
  for (let at = 0; at + HEADER <= datagram.length; ) {
    const length = data.getUint32(at, LITTLE);
    if (length < HEADER || at + length > datagram.length) return;
    yield {
      type: data.getUint16(at + 4, LITTLE),
      flags: data.getUint16(at + 6, LITTLE),
      payload: datagram.subarray(at + HEADER, at + length),
    };
    at += aligned(length);
  }
}

/** Attributes by type, from `offset` of a payload on; of two with the same type the last stays. */
export function attributes(payload: Uint8Array, offset: number): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  const data = view(payload);
  for (let at = offset; at + 4 <= payload.length; ) {
    const length = data.getUint16(at, LITTLE);
    if (length < 4 || at + length > payload.length) break;
    found.set(data.getUint16(at + 2, LITTLE) & TYPE_MASK, payload.subarray(at + 4, at + length));
    at += aligned(length);
  }
  return found;
}

/** A NUL-terminated string attribute. */
export function text(bytes: Uint8Array | undefined): string {
  return bytes ? Buffer.from(bytes).toString("utf8").replace(/\0.*$/s, "") : "";
}

/** One request message. */
export function encodeRequest(type: number, flags: number, payload: Uint8Array): Uint8Array {
  const message = new Uint8Array(HEADER + aligned(payload.length));
  const data = view(message);
  data.setUint32(0, HEADER + payload.length, LITTLE);
  data.setUint16(4, type, LITTLE);
  data.setUint16(6, flags | NLM_F_REQUEST, LITTLE);
  data.setUint32(8, 1, LITTLE);
  message.set(payload, HEADER);
  return message;
}

/**
 * Everything the kernel has of one kind, asked on a socket of its own. A dump that changed under the reader is asked
 * again, three times at most: then what came last is good enough for a caller who also follows changes.
 */
export function dump(protocol: number, type: number, payload: Uint8Array): NetlinkMessage[] {
  using socket = new NetlinkSocket(protocol);
  for (let attempt = 1; ; attempt++) {
    socket.send(encodeRequest(type, NLM_F_DUMP, payload));
    const answer = collect(socket);
    if (attempt === 3 || !answer.some(({ flags }) => flags & NLM_F_DUMP_INTERRUPTED)) return answer;
  }
}

function collect(socket: NetlinkSocket): NetlinkMessage[] {
  const found: NetlinkMessage[] = [];
  for (;;) {
    const datagram = socket.receive(ANSWER_MS);
    if (datagram === null) throw new Error(`no netlink answer within ${ANSWER_MS} ms`);
    for (const message of messages(datagram)) {
      if (message.type === NLMSG_DONE) return found;
      if (message.type === NLMSG_ERROR) {
        const errno = -(readU32(message.payload, 0) | 0);
        if (errno === 0) return found;
        throw new NetlinkError(errno);
      }
      found.push(message);
    }
  }
}
