// SPDX-License-Identifier: Apache-2.0
// A scenario's line read back: one frontend, and what a call to it may reach (scenario.ts tells the form).

import { isIPv6 } from "node:net";
import type { ProtocolName, Target } from "./actor.ts";

export type RoleWord = "ClusterIP" | "NodePort" | "ExternalIP" | "LoadBalancer";
/** Endpoints by "address:port", or what an empty set answers. */
export type SetWord = readonly string[] | "reject" | "drop";

export interface LineFrontend extends Target {
  /** The line's first four words. */
  readonly text: string;
  /** "namespace/name:port". */
  readonly name: string;
  readonly protocol: ProtocolName;
  readonly family: 4 | 6;
  readonly role: RoleWord;
  readonly cluster: SetWord;
  /** Undefined: the frontend's policy is Cluster. */
  readonly local: SetWord | undefined;
  readonly affine: boolean;
  /** The words that come after the role, by what stands before "=". */
  readonly words: ReadonlyMap<string, string>;
}

export function parseFrontendLine(line: string): LineFrontend {
  const [name = "", protocol = "", where = "", role = "", ...rest] = line.split(" ");
  const words = new Map(rest.map((word) => word.split("=", 2) as [string, string]));
  const { address, port } = parsePlace(where);
  const local = words.get("local");
  return {
    text: `${name} ${protocol} ${where} ${role}`,
    name,
    protocol: protocol as ProtocolName,
    address,
    port,
    family: isIPv6(address) ? 6 : 4,
    role: role as RoleWord,
    cluster: parseSet(words.get("cluster") ?? ""),
    local: local === undefined ? undefined : parseSet(local),
    affine: words.has("affinity"),
    words,
  };
}

/** Without the mark of endpoints that do not serve: they are called all the same. */
function parseSet(word: string): SetWord {
  if (word === "reject" || word === "drop") return word;
  return word.split(",").map((endpoint) => endpoint.replace(/!$/, ""));
}

/** "10.0.0.1:80", "[fd00::1]:80". */
function parsePlace(text: string): Target {
  const [, v6, v4, port] = /^(?:\[(.*)\]|([^:]*)):(\d+)$/.exec(text) ?? [];
  return { address: v6 ?? v4 ?? "", port: Number(port) };
}
