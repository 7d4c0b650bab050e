// SPDX-License-Identifier: Apache-2.0
// Which addresses the devices of this network namespace have, now and from now on (rtnetlink). Loopback and link-local
// addresses are left out: nobody reaches a Service by them through a device. So is the device on which kube-proxy's
// ipvs mode keeps every Service's address, and which stays when that kube-proxy goes.

import { NetlinkSocket } from "libbpf-ts";
import { formatAddress, specialAddress } from "../model/address.ts";
import { attributes, dump, messages, type NetlinkMessage, readU32, text } from "./netlink.ts";

const NETLINK_ROUTE = 0;
const RTM_NEWLINK = 16;
const RTM_GETLINK = 18;
const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const RTM_GETADDR = 22;
/** Groups as the bits of sockaddr_nl: RTMGRP_LINK, RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR. */
const GROUPS = 0x1 | 0x10 | 0x100;
const IFINFOMSG_BYTES = 16;
const IFADDRMSG_BYTES = 8;
const AF_INET = 2;
const AF_INET6 = 10;
const IFLA_IFNAME = 3;
const IPVS_DEVICE = "kube-ipvs0";
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_FLAGS = 8;
const IFA_F_OPTIMISTIC = 0x04;
const IFA_F_DADFAILED = 0x08;
const IFA_F_TENTATIVE = 0x40;
/** What a lost notification costs at most. */
const RESYNC_MS = 30_000;

export interface AddressChange {
  /** Index of the device. */
  readonly device: number;
  /** Device and address: one address may be on two devices. */
  readonly id: string;
  /** 16 bytes. */
  readonly bytes: Uint8Array;
  /** False: removed, or (IPv6) not usable: still being checked for duplicates, or found to be one. */
  readonly usable: boolean;
}

/** An RTM_NEWADDR or RTM_DELADDR message; null for other messages and for addresses that do not count. */
export function decodeAddress({ type, payload }: NetlinkMessage): AddressChange | null {
  if (type !== RTM_NEWADDR && type !== RTM_DELADDR) return null;
  const family = payload[0] === AF_INET ? 4 : payload[0] === AF_INET6 ? 6 : null;
  const found = attributes(payload, IFADDRMSG_BYTES);
  const raw = found.get(IFA_LOCAL) ?? found.get(IFA_ADDRESS);
  if (family === null || raw === undefined || raw.length !== (family === 4 ? 4 : 16)) return null;
  const bytes = new Uint8Array(16);
  if (family === 4) bytes.set([0xff, 0xff, ...raw], 10);
  else bytes.set(raw);
  if (specialAddress(bytes, 0, family) !== null) return null;
  const flagBytes = found.get(IFA_FLAGS);
  const flags = flagBytes ? readU32(flagBytes, 0) : (payload[2] ?? 0);
  const waiting = (flags & IFA_F_TENTATIVE) !== 0 && (flags & IFA_F_OPTIMISTIC) === 0;
  const device = readU32(payload, 4);
  return {
    device,
    id: `${device}/${formatAddress(bytes)}`,
    bytes,
    usable: type === RTM_NEWADDR && !waiting && (flags & IFA_F_DADFAILED) === 0,
  };
}

/** The index of the device that ipvs mode made, if the message is about that. */
function ipvsDevice({ type, payload }: NetlinkMessage): number | null {
  if (type !== RTM_NEWLINK) return null;
  const name = text(attributes(payload, IFINFOMSG_BYTES).get(IFLA_IFNAME));
  return name === IPVS_DEVICE ? readU32(payload, 4) : null;
}

/** Devices before their addresses. */
const readAll = (): NetlinkMessage[] => [
  ...dump(NETLINK_ROUTE, RTM_GETLINK, new Uint8Array(IFINFOMSG_BYTES)),
  ...dump(NETLINK_ROUTE, RTM_GETADDR, new Uint8Array(IFADDRMSG_BYTES)),
];

/** Follows the addresses until it is closed; the callback gets the whole set, once at the start and after each change. */
export class DeviceAddresses implements Disposable {
  readonly #onChange: (addresses: readonly Uint8Array[]) => void;
  readonly #notifications: NetlinkSocket;
  readonly #resync: NodeJS.Timeout;
  #held = new Map<string, Uint8Array>();
  #ipvsDevice: number | null = null;
  #told: string | null = null;

  /** Calls `onChange` before it returns. */
  constructor(onChange: (addresses: readonly Uint8Array[]) => void) {
    this.#onChange = onChange;
    // The group is joined before the dump is asked for: what changes in between is heard.
    this.#notifications = new NetlinkSocket(NETLINK_ROUTE, GROUPS);
    this.#notifications.onMessage(
      (datagram) => this.#heard(datagram),
      () => this.#readAgain(), // ENOBUFS: there were more than the socket holds
    );
    this.#resync = setInterval(() => this.#readAgain(), RESYNC_MS).unref();
    this.#replace(readAll());
  }

  #heard(datagram: Uint8Array): void {
    for (const message of messages(datagram)) this.#apply(message);
    this.#tell();
  }

  /** What cannot be read now is read at the next resync; until then what was held counts. */
  #readAgain(): void {
    let found: NetlinkMessage[];
    try {
      found = readAll();
    } catch {
      return;
    }
    this.#replace(found);
  }

  #replace(all: readonly NetlinkMessage[]): void {
    this.#held = new Map();
    this.#ipvsDevice = null;
    for (const message of all) this.#apply(message);
    this.#tell();
  }

  #apply(message: NetlinkMessage): void {
    this.#ipvsDevice = ipvsDevice(message) ?? this.#ipvsDevice;
    const change = decodeAddress(message);
    if (change === null || change.device === this.#ipvsDevice) return;
    if (change.usable) this.#held.set(change.id, change.bytes);
    else this.#held.delete(change.id);
  }

  #tell(): void {
    const addresses = new Map([...this.#held.values()].map((bytes) => [formatAddress(bytes), bytes]));
    const now = [...addresses.keys()].sort().join(" ");
    if (now === this.#told) return;
    this.#told = now;
    this.#onChange([...addresses.values()]);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#resync);
    this.#notifications.close();
  }
}
