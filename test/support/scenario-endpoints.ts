// SPDX-License-Identifier: Apache-2.0
// Where something has to answer for a scenario: at every endpoint of every step's slices that a packet can be sent to,
// ready or not, so that an answer tells which one was chosen.

import { isIP } from "node:net";
import type { Listener, ProtocolName } from "./actor.ts";
import type { Manifest, Scenario } from "./scenario.ts";

interface SliceForm {
  readonly ports?: readonly { readonly port?: number | null; readonly protocol?: string }[];
  readonly endpoints?: readonly { readonly addresses?: readonly string[] }[];
}

/** Addresses of this machine's inside, of groups, of nobody, and of Services: nobody answers there. */
const NOWHERE = /^(0|127|169\.254|22[4-9]|23\d|24\d|25\d)\.|^(::|::1|fe[89ab][0-9a-f]:.*|ff[0-9a-f]{2}:.*|::ffff:.*)$/i;

/** Every endpoint of the scenario, each once. */
export function endpointListeners(scenario: Scenario): Listener[] {
  const manifests = scenario.steps.flatMap(({ apply }) => apply);
  const all = manifests.filter(({ kind }) => kind === "EndpointSlice").flatMap(sliceListeners);
  return [...new Map(all.map((one) => [`${one.protocol} ${one.address} ${one.port}`, one])).values()];
}

function sliceListeners(manifest: Manifest): Listener[] {
  const { ports = [], endpoints = [] } = manifest as SliceForm;
  const addresses = endpoints.flatMap(({ addresses }) => addresses?.slice(0, 1) ?? []);
  const reachable = addresses.filter((address) => isIP(address) !== 0 && !NOWHERE.test(address));
  return ports.flatMap(({ port, protocol = "TCP" }) => {
    if (typeof port !== "number" || port < 1 || port > 65_535 || (protocol !== "TCP" && protocol !== "UDP")) return [];
    return reachable.map((address) => ({ address, port, protocol: protocol as ProtocolName }));
  });
}
