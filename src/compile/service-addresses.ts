// SPDX-License-Identifier: Apache-2.0
// Whose ClusterIP is an address, and which Services have an endpoint with it? Answers both in O(1) as long as pods and
// ClusterIPs live in different networks, and keeps one entry a Service and network, not one an endpoint.

import { ADDRESS_BYTES, type AddressKey, addressBytes, addressKey, familyOf, parseAddress } from "../model/address.ts";
import { copyAddress } from "../model/address-list.ts";
import { sameItems } from "../model/equal.ts";
import { type Few, fewOf, listOf } from "../model/few.ts";
import type { EndpointSlice, ServiceKey } from "../model/types.ts";

type SlicesOf = (key: ServiceKey) => readonly EndpointSlice[];

/** Addresses that became a ClusterIP or ceased to be, by the network they are filed under. */
export type MovedAddresses = Map<AddressKey, Set<AddressKey>>;

/** Bytes of the networks endpoints are filed under: ::ffff:a.b/112, and /48 in IPv6. */
const NETWORK_BYTES = { 4: 14, 6: 6 } as const;

export class ServiceAddresses {
  readonly #clusterIps = new Map<ServiceKey, readonly string[]>();
  readonly #owners = new Map<AddressKey, Few<ServiceKey>>();
  readonly #networks = new Map<ServiceKey, Few<AddressKey>>();
  readonly #servicesByNetwork = new Map<AddressKey, Set<ServiceKey>>();
  readonly #scratch = new Uint8Array(ADDRESS_BYTES);

  /** Whether some Service has the ClusterIP at bytes[offset]. */
  isClusterIp(bytes: Uint8Array, offset: number): boolean {
    return this.#owners.has(addressKey(bytes, offset));
  }

  /** The Services that have this address as ClusterIP; none if the text is no address. */
  ownersOf(address: string): readonly ServiceKey[] {
    const bytes = new Uint8Array(ADDRESS_BYTES);
    return parseAddress(address, bytes) === 0 ? [] : listOf(this.#owners.get(addressKey(bytes)));
  }

  /** Sets the ClusterIPs of one Service; adds to `moved` the addresses that became one or ceased to be. */
  setClusterIps(key: ServiceKey, after: readonly string[], moved: MovedAddresses): void {
    const before = this.#clusterIps.get(key) ?? [];
    if (sameItems(before, after)) return;
    if (after.length === 0) this.#clusterIps.delete(key);
    else this.#clusterIps.set(key, after);
    for (const address of new Set([...before, ...after])) {
      const bytes = addressBytes(address);
      const at = addressKey(bytes);
      const owners = listOf(this.#owners.get(at));
      const others = owners.filter((owner) => owner !== key);
      const now = after.includes(address) ? others.concat(key) : others;
      if (now.length === 0) this.#owners.delete(at);
      else this.#owners.set(at, fewOf(now));
      if ((owners.length === 0) !== (now.length === 0)) addTo(moved, networkKey(bytes, this.#scratch), at);
    }
  }

  /**
   * Adds to `affected` the Services with an endpoint at one of these addresses. Where pods and ClusterIPs share a network
   * every endpoint in it is looked at: once, however many addresses there are.
   */
  addServicesWith(moved: MovedAddresses, slicesOf: SlicesOf, affected: Set<ServiceKey>): void {
    for (const [network, addresses] of moved) {
      for (const key of this.#servicesByNetwork.get(network) ?? []) {
        if (!affected.has(key) && slicesOf(key).some((slice) => hasOneOf(slice, addresses))) affected.add(key);
      }
    }
  }

  /** Files the endpoints of one Service. */
  setEndpoints(key: ServiceKey, slices: readonly EndpointSlice[]): void {
    const before = listOf(this.#networks.get(key));
    const after = networksOf(slices);
    if (sameItems(before, after)) return;
    for (const network of before) {
      const services = this.#servicesByNetwork.get(network);
      services?.delete(key);
      if (services?.size === 0) this.#servicesByNetwork.delete(network);
    }
    for (const network of after) {
      const services = this.#servicesByNetwork.get(network);
      if (services === undefined) this.#servicesByNetwork.set(network, new Set([key]));
      else services.add(key);
    }
    if (after.length === 0) this.#networks.delete(key);
    else this.#networks.set(key, fewOf(after));
  }
}

function networksOf(slices: readonly EndpointSlice[]): AddressKey[] {
  const bytes = new Uint8Array(ADDRESS_BYTES);
  const scratch = new Uint8Array(ADDRESS_BYTES);
  const networks: AddressKey[] = [];
  for (const slice of slices) {
    for (let i = 0; i < slice.count; i++) {
      copyAddress(slice, i, bytes);
      const network = networkKey(bytes, scratch);
      if (networks.at(-1) !== network && !networks.includes(network)) networks.push(network);
    }
  }
  return networks;
}

function networkKey(bytes: Uint8Array, scratch: Uint8Array): AddressKey {
  const length = NETWORK_BYTES[familyOf(bytes)];
  for (let i = 0; i < length; i++) scratch[i] = bytes[i] ?? 0;
  scratch.fill(0, length);
  return addressKey(scratch);
}

function hasOneOf(slice: EndpointSlice, addresses: ReadonlySet<AddressKey>): boolean {
  const bytes = new Uint8Array(ADDRESS_BYTES);
  for (let i = 0; i < slice.count; i++) {
    copyAddress(slice, i, bytes);
    if (addresses.has(addressKey(bytes))) return true;
  }
  return false;
}

function addTo(moved: MovedAddresses, network: AddressKey, address: AddressKey): void {
  const addresses = moved.get(network);
  if (addresses === undefined) moved.set(network, new Set([address]));
  else addresses.add(address);
}
