// SPDX-License-Identifier: Apache-2.0
// Which calls show what a step's lines say: from a process of the node and from a pod, to every frontend on every
// address it has, and beside it, where nothing is served.

import { BlockList } from "node:net";
import type { ProtocolName, Style, Target } from "./actor.ts";
import { type LineFrontend, parseFrontendLine, type RoleWord, type SetWord } from "./frontend-line.ts";
import { place } from "./scenario.ts";
import { isPodAddress, NODE_ADDRESSES, POD_ADDRESSES, SECOND_ADDRESSES } from "./world-network.ts";

export type Caller = "host" | "pod";

/** What is called, in words that the table of allowed differences knows. */
export type Kind =
  | RoleWord
  | "NodePort on a second address"
  | "NodePort on loopback"
  | "all frontends in turn"
  | "caller's address"
  | "unknown port of a ClusterIP"
  | "unknown protocol of a ClusterIP"
  | "unknown port of an external address"
  | "unused address of a ServiceCIDR";

export interface Check {
  /** Who calls what and how; no other check of the step has this text. */
  readonly text: string;
  readonly kind: Kind;
  readonly caller: Caller;
  readonly protocol: ProtocolName;
  readonly style: Style;
  readonly source: string | null;
  readonly targets: readonly Target[];
  /** What the lines say will come of it. */
  readonly expected: SetWord;
  /** All calls must end at one endpoint, whichever. */
  readonly sticks: boolean;
  /** Affinity: the endpoint is kept over steps while it is in the set. */
  readonly affine: boolean;
}

/** No Service of a scenario has this port. */
const UNKNOWN_PORT = 64_999;
/** Beside the pods' addresses. */
const ALWAYS: readonly string[] = [...NODE_ADDRESSES, ...SECOND_ADDRESSES];
const LOOPBACK = ["127.0.0.1", "::1"] as const;

const OTHER: Readonly<Record<ProtocolName, ProtocolName>> = { TCP: "UDP", UDP: "TCP" };

/** Calls of every form to one frontend; what the lines say of them is the same. */
type Shape = Pick<Check, "kind" | "caller" | "style" | "source" | "targets">;

export interface PlanContext {
  /** Addresses at which somebody lives, beyond those of every world: an unknown port is refused there. */
  readonly answering: readonly string[];
  /** Texts of checks beside the frontends: made once a scenario. */
  readonly seen: Set<string>;
}

/** The checks of one step. */
export function planChecks(lines: readonly string[], context: PlanContext): Check[] {
  const frontends = lines.map(parseFrontendLine);
  const checks = frontends.flatMap(frontendChecks);
  return [
    ...checks,
    ...togetherChecks(frontends),
    ...frontends.flatMap((frontend) => callerChecks(frontend, context)),
    ...besideChecks(frontends, context),
  ];
}

function frontendChecks(frontend: LineFrontend): Check[] {
  return shapesOf(frontend).map((shape) => ({
    ...shape,
    text: textOf(frontend.protocol, shape),
    protocol: frontend.protocol,
    expected: mayCall(frontend, shape) ? expectedOf(frontend) : "drop",
    sticks: frontend.affine || shape.style === "one socket",
    affine: frontend.affine,
  }));
}

/** Callers on the node reach external frontends by the cluster set, whatever their policy. */
function expectedOf({ role, cluster, local }: LineFrontend): SetWord {
  return role === "ClusterIP" ? (local ?? cluster) : cluster;
}

/** By the line's `ranges`; a socket that is bound is judged by its address. */
function mayCall({ words, family }: LineFrontend, { caller, source }: Shape): boolean {
  const ranges = words.get("ranges")?.split(",");
  if (ranges === undefined) return true;
  if (source === null) return ranges.includes({ host: "host", pod: "pods" }[caller]);
  const list = new BlockList();
  const type = `ipv${family}` as const;
  for (const [address = "", bits] of ranges.filter((range) => range.includes("/")).map((range) => range.split("/"))) {
    list.addSubnet(address, Number(bits), type);
  }
  return list.check(source, type);
}

function shapesOf(frontend: LineFrontend): Shape[] {
  const { role: kind, port, protocol, family } = frontend;
  const at = (address: string, shape: Partial<Shape> = {}): Shape => ({
    ...{ kind, caller: "host", style: "connect", source: null, targets: [{ address, port }] },
    ...shape,
  });
  const index = family === 4 ? 0 : 1;
  const first = kind === "NodePort" ? NODE_ADDRESSES[index] : frontend.address;
  const shapes = [at(first), at(first, { caller: "pod" })];
  if (protocol === "UDP")
    shapes.push(at(first, { style: "sendto" }), at(first, { caller: "pod", style: "one socket" }));
  if (frontend.words.has("ranges")) {
    shapes.push(at(first, { source: NODE_ADDRESSES[index] }), at(first, { source: SECOND_ADDRESSES[index] }));
    shapes.push(at(first, { caller: "pod", source: POD_ADDRESSES[index] }));
  }
  if (kind !== "NodePort") return shapes;
  return [
    ...shapes,
    at(SECOND_ADDRESSES[index], { kind: "NodePort on a second address" }),
    at(SECOND_ADDRESSES[index], { kind: "NodePort on a second address", caller: "pod" }),
    at(LOOPBACK[index], { kind: "NodePort on loopback" }),
  ];
}

/** A pod that calls all frontends of one ServicePort with affinity stays with one endpoint. */
function togetherChecks(frontends: readonly LineFrontend[]): Check[] {
  const groups = Map.groupBy(
    frontends.filter((frontend) => frontend.affine && Array.isArray(expectedOf(frontend))),
    ({ name, protocol, family }) => `${name} ${protocol} IPv${family}`,
  );
  return [...groups.values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined || group.length < 2 || new Set(group.map((one) => String(expectedOf(one)))).size > 1)
      return [];
    const targets = group.flatMap((one) => shapesOf(one)[0]?.targets ?? []);
    const shape: Shape = { kind: "all frontends in turn", caller: "pod", style: "connect", source: null, targets };
    const { protocol } = first;
    const text = textOf(protocol, shape);
    return { ...shape, text, protocol, expected: expectedOf(first), sticks: true, affine: false };
  });
}

/** Whom the endpoints see when a pod calls: once a scenario for each frontend that answers. */
function callerChecks(frontend: LineFrontend, { seen }: PlanContext): Check[] {
  const { protocol } = frontend;
  const expected = expectedOf(frontend);
  const targets = shapesOf(frontend)[0]?.targets ?? [];
  const shape: Shape = { kind: "caller's address", caller: "pod", style: "connect", source: null, targets };
  const text = `${textOf(protocol, shape)} of ${frontend.role}`;
  if (!Array.isArray(expected) || frontend.words.has("ranges") || seen.has(text)) return [];
  seen.add(text);
  return [{ ...shape, text, protocol, expected, sticks: false, affine: false }];
}

interface Beside {
  readonly kind: Kind;
  readonly protocol: ProtocolName;
  readonly target: Target;
  readonly expected: SetWord;
}

function besideChecks(frontends: readonly LineFrontend[], { answering, seen }: PlanContext): Check[] {
  const served = new Set(frontends.map(({ protocol, address, port }) => `${protocol} ${place(address, port)}`));
  const beside = frontends.flatMap((frontend) => [...besidesOf(frontend, answering)]);
  return beside.flatMap(({ kind, protocol, target, expected }) =>
    (["host", "pod"] as const).flatMap((caller) => {
      const shape: Shape = { kind, caller, style: "connect", source: null, targets: [target] };
      const text = textOf(protocol, shape);
      if (served.has(`${protocol} ${place(target.address, target.port)}`) || seen.has(text)) return [];
      seen.add(text);
      return { ...shape, text, protocol, expected, sticks: false, affine: false };
    }),
  );
}

function* besidesOf({ role, protocol, address, port }: LineFrontend, answering: readonly string[]): Generator<Beside> {
  if (role === "NodePort") return;
  if (role !== "ClusterIP") {
    const target = { address, port: UNKNOWN_PORT };
    // No proxy's business, but that of whoever has the address.
    const expected = isPodAddress(address) || [...answering, ...ALWAYS].includes(address) ? "reject" : "drop";
    yield { kind: "unknown port of an external address", protocol, target, expected };
    return;
  }
  const unknown = { address, port: UNKNOWN_PORT };
  yield { kind: "unknown port of a ClusterIP", protocol, target: unknown, expected: "reject" };
  const other = { address, port };
  yield { kind: "unknown protocol of a ClusterIP", protocol: OTHER[protocol], target: other, expected: "reject" };
  const unused = { address: address.replace(/[0-9a-f]+$/, (last) => (last === "250" ? "251" : "250")), port };
  yield { kind: "unused address of a ServiceCIDR", protocol, target: unused, expected: "drop" };
}

function textOf(protocol: ProtocolName, { kind, caller, style, source, targets }: Shape): string {
  const way = style === "connect" ? "" : ` by ${style}`;
  const from = source === null ? "" : ` from ${source}`;
  const called = targets.map(({ address, port }) => place(address, port)).join(" ");
  return `${caller}${from} ${protocol}${way} ${called} (${kind})`;
}
