// SPDX-License-Identifier: Apache-2.0
// Scenarios: a YAML file a behaviour in test/scenarios/, Kubernetes manifests in, sorted lines out. One file serves every
// stage that can say what it serves in these lines: compile from its units, program from the maps. A file that names no
// IPv6 address is two scenarios: the second is its IPv6 twin (scenario-twin.ts).
//
// A file:
//   node: node-a                     # our node; "node-a" if left out
//   twin: false                      # optional: the rule is IPv4's alone
//   options:                         # optional; settings of the same names, and what the devices have at first
//     allowServiceExternalIps: true
//     externalIpsAllowed: [192.0.2.0/24]
//     clusterCidrs: [10.244.0.0/16]
//     serviceProxyName: mesh
//     deviceAddresses: [10.96.0.10]
//   steps:
//     - name: what happens           # in words
//       apply: [manifest, …]         # Service, EndpointSlice, Node, ServiceCIDR; apiVersion and namespace are filled in
//       delete: [Service default/web, EndpointSlice default/web-1, Node node-a, ServiceCIDR other]
//       deviceAddresses: [ … ]       # from now on
//       expect: |                    # every line there is after this step, in any order
//         default/web:http TCP 10.96.0.10:80 ClusterIP cluster=10.244.1.2:8080,10.244.2.2:8080
//       problems: |                  # every problem there is after this step; left out: none
//         Service default/web spec.externalIPs[0]: 127.0.0.1 is a loopback address
//
// A line is one frontend, and what a call to it may reach:
//   NAME PROTOCOL ADDRESS:PORT ROLE cluster=SET [local=SET] [draining=LIST] [affinity=SECONDS] [ranges=WHO]
//   ADDRESS  0.0.0.0 or [::] for a NodePort
//   SET      endpoints by address and port, "," between them; "reject" or "drop" for an empty set's answer
//   local    only on a frontend whose policy is Local (internalTrafficPolicy for ClusterIP, else externalTrafficPolicy)
//   draining endpoints in no set that still serve what they have
//   ranges   of a load balancer address with source ranges: "host" and "pods" whose sockets are not bound, then prefixes;
//            "nobody" if none of them
//   An endpoint in a set that is not serving ends in "!".

import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { parse } from "yaml";
import {
  ENDPOINT,
  ENDPOINT_STRIDE,
  type Frontend,
  type FrontendRole,
  type Unit,
  type UnitRanges,
} from "../../src/compile/unit.ts";
import { formatAddress } from "../../src/model/address.ts";
import { PROTOCOL_NAME, type Problem } from "../../src/model/types.ts";
import { twinOf } from "./scenario-twin.ts";

const API_VERSIONS = {
  Service: "v1",
  EndpointSlice: "discovery.k8s.io/v1",
  Node: "v1",
  ServiceCIDR: "networking.k8s.io/v1",
} as const;
const NAMESPACED: ReadonlySet<string> = new Set(["Service", "EndpointSlice"]);

export interface Manifest {
  readonly apiVersion: string;
  readonly kind: keyof typeof API_VERSIONS;
  /** A Node and a ServiceCIDR have no namespace. */
  readonly metadata: { readonly name: string; readonly namespace: string } & Readonly<Record<string, unknown>>;
  readonly [field: string]: unknown;
}

export interface ObjectReference {
  readonly kind: Manifest["kind"];
  /** "namespace/name", or "name" of what is in no namespace. */
  readonly key: string;
}

/** Settings of the configuration, by their names there. */
export interface ScenarioSettings {
  readonly allowServiceExternalIps: boolean;
  readonly externalIpsAllowed: readonly string[] | null;
  readonly clusterCidrs: readonly string[];
  readonly serviceProxyName: string | null;
}

export interface ScenarioStep {
  readonly name: string;
  readonly apply: readonly Manifest[];
  readonly delete: readonly ObjectReference[];
  /** null: as before. */
  readonly deviceAddresses: readonly string[] | null;
  /** Sorted. */
  readonly expect: readonly string[];
  /** Sorted. */
  readonly problems: readonly string[];
}

export interface Scenario {
  /** File name without ".yaml"; of a twin with " (IPv6)" behind it. */
  readonly name: string;
  readonly isTwin: boolean;
  readonly node: string;
  readonly settings: ScenarioSettings;
  readonly deviceAddresses: readonly string[];
  readonly steps: readonly ScenarioStep[];
}

/** Every *.yaml file of the folder, by name. Throws on a key that means nothing: a typo must not pass as a test. */
export function loadScenarios(directory: string): Scenario[] {
  const files = readdirSync(directory).filter((file) => file.endsWith(".yaml"));
  return files
    .sort()
    .flatMap((file) => parseScenario(basename(file, ".yaml"), readFileSync(join(directory, file), "utf8")));
}

/** The scenario, and its twin if it has one. */
export function parseScenario(name: string, text: string): Scenario[] {
  const value: unknown = parse(text, { merge: true });
  const scenario = scenarioOf(name, value);
  const twin = (value as { twin?: unknown }).twin === false ? null : twinOf(value, text);
  return twin === null ? [scenario] : [scenario, { ...scenarioOf(`${name} (IPv6)`, twin), isTwin: true }];
}

const OPTIONS = [
  "allowServiceExternalIps",
  "externalIpsAllowed",
  "clusterCidrs",
  "serviceProxyName",
  "deviceAddresses",
];

function scenarioOf(name: string, value: unknown): Scenario {
  const file = record(value, name, ["node", "twin", "options", "steps"]);
  const options = record(file["options"] ?? {}, `${name} options`, OPTIONS);
  return {
    name,
    isTwin: false,
    node: (file["node"] as string | undefined) ?? "node-a",
    settings: {
      allowServiceExternalIps: (options["allowServiceExternalIps"] as boolean | undefined) ?? true,
      externalIpsAllowed: (options["externalIpsAllowed"] as string[] | undefined) ?? null,
      clusterCidrs: (options["clusterCidrs"] as string[] | undefined) ?? [],
      serviceProxyName: (options["serviceProxyName"] as string | undefined) ?? null,
    },
    deviceAddresses: (options["deviceAddresses"] as string[] | undefined) ?? [],
    steps: (file["steps"] as unknown[]).map((step) => parseStep(step, name)),
  };
}

function parseStep(value: unknown, file: string): ScenarioStep {
  const keys = ["name", "apply", "delete", "deviceAddresses", "expect", "problems"];
  const step = record(value, `${file} step`, keys);
  if (typeof step["expect"] !== "string")
    throw new Error(`${file}: step ${JSON.stringify(step["name"])} expects nothing`);
  return {
    name: step["name"] as string,
    apply: ((step["apply"] as Manifest[] | undefined) ?? []).map(completeManifest),
    delete: ((step["delete"] as string[] | undefined) ?? []).map(parseReference),
    deviceAddresses: (step["deviceAddresses"] as string[] | undefined) ?? null,
    expect: lines(step["expect"]),
    problems: lines((step["problems"] as string | undefined) ?? ""),
  };
}

function record(value: unknown, what: string, keys: readonly string[]): Record<string, unknown> {
  if (typeof value !== "object" || value === null) throw new Error(`${what}: not an object`);
  const unknown = Object.keys(value).filter((key) => !keys.includes(key));
  if (unknown.length > 0) throw new Error(`${what}: unknown ${unknown.join(", ")}`);
  return value as Record<string, unknown>;
}

function lines(text: string): string[] {
  const all = text.split("\n").map((line) => line.trim());
  return all.filter((line) => line !== "").sort();
}

function completeManifest(manifest: Manifest): Manifest {
  const apiVersion = API_VERSIONS[manifest.kind];
  if (apiVersion === undefined) throw new Error(`cannot apply a ${manifest.kind}`);
  const namespace = NAMESPACED.has(manifest.kind) ? { namespace: manifest.metadata.namespace ?? "default" } : {};
  return { ...manifest, apiVersion, metadata: { ...manifest.metadata, ...namespace } };
}

function parseReference(text: string): ObjectReference {
  const [kind, key] = text.split(" ");
  if (kind === undefined || !Object.hasOwn(API_VERSIONS, kind) || key === undefined) {
    throw new Error(`cannot delete ${text}`);
  }
  return { kind: kind as Manifest["kind"], key };
}

export function problemLine({ kind, key, field, reason }: Problem): string {
  return `${kind} ${key} ${field}: ${reason}`;
}

/** The parts of one line, from wherever they were read. */
export interface FrontendLine {
  /** Unit.name. */
  readonly name: string;
  readonly protocol: Unit["protocol"];
  readonly family: Unit["family"];
  readonly frontend: Frontend;
  /** "address:port" in order, "!" at the end of one that is not serving; or the answer of an empty set. */
  readonly cluster: readonly string[] | "reject" | "drop";
  readonly local: readonly string[] | "reject" | "drop";
  readonly draining: readonly string[];
  readonly affinitySec: number;
  /** Of the frontend's unit; told where the frontend is of the load balancer. */
  readonly sourceRanges: UnitRanges | null;
}

const ROLE_WORDS: Readonly<Record<FrontendRole, string>> = {
  clusterIP: "ClusterIP",
  nodePort: "NodePort",
  externalIP: "ExternalIP",
  loadBalancer: "LoadBalancer",
};

export function formatLine(line: FrontendLine): string {
  const { frontend, family } = line;
  const address = frontend.role === "nodePort" ? { 4: "0.0.0.0", 6: "::" }[family] : frontend.address;
  const words = [line.name, PROTOCOL_NAME[line.protocol], place(address, frontend.port), ROLE_WORDS[frontend.role]];
  words.push(`cluster=${setWord(line.cluster)}`);
  if (frontend.internalLocal || frontend.externalLocal) words.push(`local=${setWord(line.local)}`);
  if (line.draining.length > 0) words.push(`draining=${line.draining.join(",")}`);
  if (line.affinitySec > 0) words.push(`affinity=${line.affinitySec}`);
  if (frontend.role === "loadBalancer" && line.sourceRanges) words.push(`ranges=${rangesWord(line.sourceRanges)}`);
  return words.join(" ");
}

function rangesWord({ allowHost, allowPods, prefixes }: UnitRanges): string {
  return [...(allowHost ? ["host"] : []), ...(allowPods ? ["pods"] : []), ...prefixes].join(",") || "nobody";
}

function setWord(set: readonly string[] | string): string {
  return typeof set === "string" ? set : set.join(",");
}

/** "10.0.0.1:80", "[fd00::1]:80". */
export function place(address: string, port: number): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

/** The lines of units, sorted. */
export function unitLines(units: Iterable<Unit>): string[] {
  return [...units].flatMap((unit) => linesOf(unit)).sort();
}

function linesOf(unit: Unit): string[] {
  const endpoints = [...endpointsOf(unit)];
  const inSet = (bit: number): string[] =>
    endpoints
      .filter(({ flags }) => (flags & bit) !== 0)
      .map(({ text, flags }) => text + (flags & ENDPOINT.SERVING ? "" : "!"));
  const orAnswer = (set: string[], answer: "reject" | "drop"): string[] | "reject" | "drop" =>
    set.length > 0 ? set : answer;
  return unit.frontends.map((frontend) =>
    formatLine({
      ...unit,
      frontend,
      cluster: orAnswer(inSet(ENDPOINT.CLUSTER), "reject"),
      local: orAnswer(inSet(ENDPOINT.LOCAL), unit.emptyLocal),
      draining: endpoints.filter(({ flags }) => flags === ENDPOINT.SERVING).map(({ text }) => text),
    }),
  );
}

/** Unit.endpoints unpacked: text "address:port" and flags. */
function* endpointsOf(unit: Unit): Iterable<{ readonly text: string; readonly flags: number }> {
  const view = new DataView(unit.endpoints.buffer, unit.endpoints.byteOffset, unit.endpoints.byteLength);
  for (let at = 0; at < unit.endpoints.length; at += ENDPOINT_STRIDE) {
    yield { text: place(formatAddress(unit.endpoints, at), view.getUint16(at + 16)), flags: view.getUint8(at + 18) };
  }
}
