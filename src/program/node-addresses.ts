// SPDX-License-Identifier: Apache-2.0
// pt_node_addrs: which addresses are the node's own, and on which of them NodePorts answer.

import type { MapPort } from "../datapath/port.ts";
import { type AddressKey, addressKey, formatAddress } from "../model/address.ts";
import type { Findings } from "./findings.ts";

export interface NodeAddress {
  /** 16 bytes. */
  readonly address: Uint8Array;
  /** layout.ts NODE_ADDR. */
  readonly flags: number;
}

export class NodeAddressWriter {
  readonly #port: MapPort;
  readonly #current = new Map<AddressKey, NodeAddress>();
  #wanted: readonly NodeAddress[] | null = null;
  #failure: string | null = null;

  constructor(port: MapPort) {
    this.#port = port;
    for (const [address, flags] of port.nodeAddresses()) this.#current.set(addressKey(address), { address, flags });
  }

  /** Why the last list is not wholly written; null if it is. */
  get failure(): string | null {
    return this.#failure;
  }

  get current(): Iterable<NodeAddress> {
    return this.#current.values();
  }

  set(wanted: readonly NodeAddress[]): void {
    this.#wanted = wanted;
    this.write();
  }

  /** Writes what is not yet as the last list has it: new ones first. */
  write(): void {
    if (this.#wanted === null) return;
    this.#failure = null;
    const wanted = new Map(this.#wanted.map((entry) => [addressKey(entry.address), entry]));
    for (const [key, entry] of wanted) {
      if (this.#current.get(key)?.flags === entry.flags) continue;
      this.#attempt(entry.address, () => {
        this.#port.putNodeAddress(entry.address, entry.flags);
        this.#current.set(key, entry);
      });
    }
    for (const [key, { address }] of this.#current) {
      if (wanted.has(key)) continue;
      this.#attempt(address, () => {
        this.#port.deleteNodeAddress(address);
        this.#current.delete(key);
      });
    }
  }

  /** Puts back what is not as it was written, and takes out what was not. */
  audit(findings: Findings): void {
    const missing = new Map(this.#current);
    for (const [address, flags] of this.#port.nodeAddresses()) {
      const key = addressKey(address);
      const known = missing.get(key);
      missing.delete(key);
      if (known === undefined) {
        const what = `${formatAddress(address)}, which is not this node's`;
        findings.mend("node-address", what, () => this.#port.deleteNodeAddress(address));
      } else if (known.flags !== flags) {
        findings.mend("node-address", formatAddress(address), () => this.#port.putNodeAddress(address, known.flags));
      }
    }
    for (const { address, flags } of missing.values()) {
      findings.mend("node-address", formatAddress(address), () => this.#port.putNodeAddress(address, flags));
    }
  }

  #attempt(address: Uint8Array, write: () => void): void {
    try {
      write();
    } catch (error) {
      this.#failure = `node address ${formatAddress(address)}: ${(error as Error).message}`;
    }
  }
}
