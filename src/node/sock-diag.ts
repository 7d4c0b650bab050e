// SPDX-License-Identifier: Apache-2.0
// sock_diag: what sockets a network namespace has, and ending one. By exact cookie: a socket that has been closed or
// connected elsewhere meanwhile is not found.

import { endianness } from "node:os";
import { setImmediate } from "node:timers/promises";
import { BpfError, NetlinkSocket, netlinkExchange } from "libbpf-ts";
import type { Protocol } from "../model/types.ts";
import { dump, encodeRequest, messages, NetlinkError, readU32, readU64 } from "./netlink.ts";

const NETLINK_SOCK_DIAG = 4;
const SOCK_DIAG_BY_FAMILY = 20;
const SOCK_DESTROY = 21;
const NLMSG_ERROR = 2;
const NLM_F_ACK = 4;
const NLM_F_DUMP = 0x300;

const AF_INET = 2;
const AF_INET6 = 10;
const EOPNOTSUPP = 95;
const ENOENT = 2;
const ETIMEDOUT = 110;

/** All states that have a peer: not TIME_WAIT (6), CLOSE (7), LISTEN (10), NEW_SYN_RECV (12). */
const CONNECTED_STATES = 0xffe & ~(1 << 6) & ~(1 << 7) & ~(1 << 10);

/** struct inet_diag_req_v2; its sockid is also where the answers have theirs, 4 bytes earlier. */
const REQUEST_BYTES = 56;
const REQUEST_ID = 8;
const ID_BYTES = 48;
const ANSWER_ID = 4;
/** Offsets in struct inet_diag_sockid. */
const ID = { DST_PORT: 2, DST: 20, COOKIE: 40 } as const;

export interface DiagSocket {
  readonly cookie: bigint;
  /** 16 bytes, IPv4 as ::ffff:a.b.c.d. */
  readonly peer: Uint8Array;
  readonly peerPort: number;
  /** AF_INET or AF_INET6, and struct inet_diag_sockid: what destroy() names it by. */
  readonly family: number;
  readonly id: Uint8Array;
}

export interface DiagQuery {
  readonly protocol: Protocol;
  /** Path of a network namespace; null: this process'. */
  readonly netns: string | null;
}

/** The sockets of one network namespace that have a peer. Needs CAP_NET_ADMIN; another namespace CAP_SYS_ADMIN too. */
export async function* connectedSockets({ protocol, netns }: DiagQuery): AsyncGenerator<DiagSocket> {
  for (const family of [AF_INET, AF_INET6]) {
    const request = encodeRequest(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, header(family, protocol, CONNECTED_STATES));
    const answers = await netlinkExchange(NETLINK_SOCK_DIAG, request, netns === null ? {} : { netns });
    let seen = 0;
    for (const { type, payload } of messages(answers)) {
      if (++seen % SLICE === 0) await setImmediate();
      if (type === NLMSG_ERROR) throw new NetlinkError(errnoOf(payload));
      if (type === SOCK_DIAG_BY_FAMILY) yield decodeSocket(payload);
    }
  }
}

/** Ends sockets as connectedSockets() gave them; those that are no longer so are left. Gives the cookies of the ended. */
export async function destroySockets(sockets: readonly DiagSocket[], query: DiagQuery): Promise<bigint[]> {
  if (sockets.length === 0) return [];
  const requests = Buffer.concat(sockets.map((socket) => encodeDestroy(socket, query.protocol)));
  const { netns } = query;
  const answers = await netlinkExchange(NETLINK_SOCK_DIAG, requests, netns === null ? {} : { netns });
  const errors = [...messages(answers)].filter(({ type }) => type === NLMSG_ERROR).map(({ payload }) => payload);
  const refused = errors.map(errnoOf).find((errno) => errno !== 0 && errno !== ENOENT);
  if (refused !== undefined) throw new NetlinkError(refused);
  return sockets.filter((_, i) => errnoOf(errors[i] ?? NO_ANSWER) === 0).map(({ cookie }) => cookie);
}

/** Why sockets of this namespace cannot be ended by sock_diag; null: they can. Nothing is ended. */
export function sockDiagProblem(protocol: Protocol): string | null {
  try {
    dump(NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, header(AF_INET, protocol, 0));
    using socket = new NetlinkSocket(NETLINK_SOCK_DIAG);
    socket.send(encodeRequest(SOCK_DESTROY, NLM_F_ACK, header(AF_INET, protocol, CONNECTED_STATES)));
    const [answer] = messages(socket.receive() ?? EMPTY);
    const errno = errnoOf(answer?.payload ?? NO_ANSWER);
    if (errno === ENOENT) return null;
    return errno === EOPNOTSUPP ? "the kernel lacks INET_DIAG_DESTROY" : `sock_diag answers errno ${errno}`;
  } catch (error) {
    if (error instanceof NetlinkError || error instanceof BpfError) return `sock_diag: ${error.message}`;
    throw error;
  }
}

/** Sockets read in one turn of the event loop. */
const SLICE = 2_048;
const EMPTY = new Uint8Array(0);
const NO_ANSWER = new Uint8Array(Int32Array.of(-ETIMEDOUT).buffer);
const LITTLE = endianness() === "LE";

const errnoOf = (payload: Uint8Array): number => -(readU32(payload, 0) | 0);

function header(family: number, protocol: Protocol, states: number): Uint8Array {
  const request = new Uint8Array(REQUEST_BYTES);
  request[0] = family;
  request[1] = protocol;
  new DataView(request.buffer).setUint32(4, states, LITTLE);
  return request;
}

function encodeDestroy({ family, id }: DiagSocket, protocol: Protocol): Uint8Array {
  const request = header(family, protocol, CONNECTED_STATES);
  request.set(id, REQUEST_ID);
  return encodeRequest(SOCK_DESTROY, NLM_F_ACK, request);
}

function decodeSocket(payload: Uint8Array): DiagSocket {
  const family = payload[0] ?? 0;
  const id = payload.subarray(ANSWER_ID, ANSWER_ID + ID_BYTES);
  const peer = new Uint8Array(16);
  if (family === AF_INET) {
    peer.fill(0xff, 10, 12);
    peer.set(id.subarray(ID.DST, ID.DST + 4), 12);
  } else {
    peer.set(id.subarray(ID.DST, ID.DST + 16));
  }
  const peerPort = ((id[ID.DST_PORT] ?? 0) << 8) | (id[ID.DST_PORT + 1] ?? 0);
  return { cookie: readU64(id, ID.COOKIE), peer, peerPort, family, id };
}
