// SPDX-License-Identifier: Apache-2.0
// Scenarios: a YAML file a behaviour in test/scenarios/, Kubernetes manifests in, sorted lines out. One file serves every
// stage that can say what it serves in these lines: compile from its units, program from the maps.
//
// A file:
//   node: node-a                     # our node; "node-a" if left out
//   options:                         # optional, CompileOptions
//     externalIpsAllowed: [192.0.2.0/24]
//     deviceAddresses: [10.96.0.10]
//   steps:
//     - name: what happens           # in words
//       apply: [manifest, …]         # Service and EndpointSlice; apiVersion and namespace "default" are filled in
//       delete: [Service default/web, EndpointSlice default/web-1]
//       deviceAddresses: [ … ]       # from now on
//       expect: |                    # every line there is after this step, in any order
//         default/web:http TCP 10.96.0.10:80 ClusterIP cluster=10.244.1.2:8080,10.244.2.2:8080
//       problems: |                  # every problem there is after this step; left out: none
//         Service default/web spec.externalIPs[0]: 127.0.0.1 is a loopback address
//
// A line is one frontend, and what a call to it may reach:
//   NAME PROTOCOL ADDRESS:PORT ROLE cluster=SET [local=SET] [draining=LIST] [affinity=SECONDS]
//   ADDRESS  0.0.0.0 or [::] for a NodePort
//   SET      endpoints by address and port, "," between them; "reject" or "drop" for an empty set's answer
//   local    only on a frontend whose policy is Local (internalTrafficPolicy for ClusterIP, else externalTrafficPolicy)
//   draining endpoints in no set that still serve what they have
//   An endpoint in a set that is not serving ends in "!".

import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { parse } from "yaml";
import { ENDPOINT, ENDPOINT_STRIDE, type Frontend, type FrontendRole, type Unit } from "../../src/compile/unit.ts";
import { formatAddress } from "../../src/model/address.ts";
import { type EndpointSlice, PROTOCOL_NAME, type Problem, type Service } from "../../src/model/types.ts";
import { decodeEndpointSlice, decodeService } from "../../src/source/decode.ts";

export interface Manifest {
  readonly apiVersion: string;
  readonly kind: "Service" | "EndpointSlice";
  readonly metadata: { readonly name: string; readonly namespace: string } & Readonly<Record<string, unknown>>;
  readonly [field: string]: unknown;
}

export interface ObjectReference {
  readonly kind: Manifest["kind"];
  /** "namespace/name". */
  readonly key: string;
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
  /** File name without ".yaml". */
  readonly name: string;
  readonly node: string;
  readonly externalIpsAllowed: readonly string[] | null;
  readonly deviceAddresses: readonly string[];
  readonly steps: readonly ScenarioStep[];
}

/** Every *.yaml file of the folder, by name. Throws on a key that means nothing: a typo must not pass as a test. */
export function loadScenarios(directory: string): Scenario[] {
  const files = readdirSync(directory).filter((file) => file.endsWith(".yaml"));
  return files
    .sort()
    .map((file) => parseScenario(basename(file, ".yaml"), readFileSync(join(directory, file), "utf8")));
}

export function parseScenario(name: string, text: string): Scenario {
  const file = record(parse(text, { merge: true }), name, ["node", "options", "steps"]);
  const options = record(file["options"] ?? {}, `${name} options`, ["externalIpsAllowed", "deviceAddresses"]);
  return {
    name,
    node: (file["node"] as string | undefined) ?? "node-a",
    externalIpsAllowed: (options["externalIpsAllowed"] as string[] | undefined) ?? null,
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
  const apiVersion = manifest.kind === "Service" ? "v1" : "discovery.k8s.io/v1";
  return {
    ...manifest,
    apiVersion,
    metadata: { ...manifest.metadata, namespace: manifest.metadata.namespace ?? "default" },
  };
}

function parseReference(text: string): ObjectReference {
  const [kind, key] = text.split(" ");
  if ((kind !== "Service" && kind !== "EndpointSlice") || key === undefined) throw new Error(`cannot delete ${text}`);
  return { kind, key };
}

/** What a step says to a sink, one object an event; null: deleted. `problems` are decode's. */
export type ScenarioEvent = { readonly key: string; readonly problems: readonly Problem[] } & (
  | { readonly kind: "Service"; readonly object: Service | null }
  | { readonly kind: "EndpointSlice"; readonly object: EndpointSlice | null }
);

export const EVENT_ORDERS = ["Services first", "EndpointSlices first"] as const;
export type EventOrder = (typeof EVENT_ORDERS)[number];

/** The step's events; all of one kind come before all of the other, deletions before what is applied. */
export function eventsOf(step: ScenarioStep, order: EventOrder): ScenarioEvent[] {
  const events = [...step.delete.map(deletion), ...step.apply.map(decodeManifest)];
  const first = order === "Services first" ? "Service" : "EndpointSlice";
  return [...events.filter(({ kind }) => kind === first), ...events.filter(({ kind }) => kind !== first)];
}

function deletion({ kind, key }: ObjectReference): ScenarioEvent {
  return { kind, key, object: null, problems: [] };
}

function decodeManifest(manifest: Manifest): ScenarioEvent {
  const key = `${manifest.metadata.namespace}/${manifest.metadata.name}`;
  if (manifest.kind === "Service") return { kind: "Service", key, ...pick(decodeService(manifest)) };
  return { kind: "EndpointSlice", key, ...pick(decodeEndpointSlice(manifest)) };
}

function pick<T>({ object, problems }: { object: T; problems: readonly Problem[] }): {
  object: T;
  problems: readonly Problem[];
} {
  return { object, problems };
}

/** The state part of a SourceSink. */
export interface ObjectSink {
  service(key: string, object: Service | null, receivedNs: bigint): void;
  endpointSlice(key: string, object: EndpointSlice | null, receivedNs: bigint): void;
}

/** Says the event to the sink. */
export function deliver(event: ScenarioEvent, sink: ObjectSink, receivedNs: bigint): void {
  if (event.kind === "Service") sink.service(event.key, event.object, receivedNs);
  else sink.endpointSlice(event.key, event.object, receivedNs);
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
  return words.join(" ");
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
export function* endpointsOf(unit: Unit): Iterable<{ readonly text: string; readonly flags: number }> {
  const view = new DataView(unit.endpoints.buffer, unit.endpoints.byteOffset, unit.endpoints.byteLength);
  for (let at = 0; at < unit.endpoints.length; at += ENDPOINT_STRIDE) {
    yield { text: place(formatAddress(unit.endpoints, at), view.getUint16(at + 16)), flags: view.getUint8(at + 18) };
  }
}
