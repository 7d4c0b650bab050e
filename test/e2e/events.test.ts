// SPDX-License-Identifier: Apache-2.0
// Events as `kubectl describe` shows them, written under the role that ships: fields as the real kube-proxy writes them.

import { hostname } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Daemon, eventually } from "../support/daemon.ts";
import { Bed } from "./bed.ts";
import { besideKubeProxy } from "./kube-proxy.ts";
import { service, slice } from "./objects.ts";

const HEALTH_PORT = 19_256;
const CHECK_PORT = 30_998;

interface Event {
  readonly apiVersion: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly uid: string;
    readonly creationTimestamp: string;
  };
  readonly regarding: { readonly kind: string; readonly namespace?: string; readonly name: string };
  readonly reason: string;
  readonly note?: string;
  readonly eventTime: string;
  readonly series?: { readonly count: number; readonly lastObservedTime: string };
}

let bed: Bed;
let listener: Daemon;

async function events(reason: string): Promise<Event[]> {
  const text = await bed.plane.kubectl(["get", "events.events.k8s.io", "--all-namespaces", "-o", "json"]);
  return (JSON.parse(text) as { items: Event[] }).items.filter((event) => event.reason === reason);
}

/** The one Event with this reason about this object, as soon as `right`. */
function event(reason: string, name: string, right: (event: Event) => boolean = () => true) {
  return eventually(
    `${reason} on ${name}`,
    async () => {
      const found = (await events(reason)).filter(({ regarding }) => regarding.name === name);
      return found.length === 1 && found[0] !== undefined && right(found[0]) ? found[0] : undefined;
    },
    { withinMs: 90_000, everyMs: 300 },
  );
}

/** Without what is different in each: its name's suffix, times, and what the API server adds. */
function comparable({ metadata, eventTime, series, ...rest }: Event): object {
  expect(eventTime).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
  expect(metadata.name).toMatch(/^[a-z0-9-]+\.[0-9a-f]{15,16}$/);
  return { ...rest, metadata: { namespace: metadata.namespace, of: metadata.name.split(".")[0] } };
}

/** A Service with a health check that finds its port taken, on both families. */
const checked = (): object[] => [
  service("checked", { type: "LoadBalancer", externalTrafficPolicy: "Local", healthCheckNodePort: CHECK_PORT }),
  slice("checked-v4", "checked", ["10.244.1.11"]),
];

const configuration = (more: object): object => ({
  apiVersion: "portolan.io/v1alpha1",
  kind: "PortolanConfiguration",
  hostnameOverride: "node1",
  mode: "nftables",
  healthzBindAddress: `0.0.0.0:${HEALTH_PORT}`,
  ...more,
});

/** The Events of the real kube-proxy on this node, which are then deleted. */
async function ofKubeProxy(): Promise<Map<string, object>> {
  const told = await besideKubeProxy(bed, async () => {
    const started = await event("Starting", "node1");
    const failed = await event("FailedToStartServiceHealthcheck", "checked", ({ series }) => series?.count === 2);
    return new Map([
      ["Starting", comparable(started)],
      ["FailedToStartServiceHealthcheck", comparable(failed)],
    ]);
  });
  await bed.plane.kubectl(["delete", "events.events.k8s.io", "--all", "--namespace=default"]);
  return told;
}

let theirs: Map<string, object>;

beforeAll(async () => {
  bed = await Bed.create({ pods: 0 });
  const place = { netns: bed.node.netns };
  const hold = `for (const port of [${HEALTH_PORT}, ${CHECK_PORT}]) require("node:net").createServer().listen(port, "::", () => console.log("ready"));`;
  listener = new Daemon([process.execPath, "-e", hold], join(bed.dir, "listener.log"), place);
  await listener.until("holds both ports", () => (listener.log().match(/ready/g)?.length === 2 ? true : undefined));
  await bed.plane.apply(...checked());
  theirs = await ofKubeProxy();
  // Room for the 13 units of "kubernetes", "checked", "older" and "younger", and for no other; id 0 is nobody's.
  await bed.startAgent({ config: configuration({ mapSizes: { units: 14 } }) }).inSync();
});

afterAll(async () => {
  await listener?.stop("SIGKILL");
  await bed?.remove();
});

test("a start is told on the Node, with the fields that kube-proxy gives it", async () => {
  const starting = await event("Starting", "node1");
  expect(comparable(starting)).toEqual(theirs.get("Starting"));
  expect(starting).toMatchObject({
    apiVersion: "events.k8s.io/v1",
    type: "Normal",
    action: "StartKubeProxy",
    regarding: { apiVersion: "v1", kind: "Node", name: "node1" },
    reportingController: "kube-proxy",
    reportingInstance: `kube-proxy-${hostname()}`,
    metadata: { namespace: "default" },
  });
  expect(starting.regarding).not.toHaveProperty("uid");
  expect(starting.note).toBeUndefined();
});

test("a health check without a port is told on the Service; its repeats are a series", async () => {
  const failed = await event("FailedToStartServiceHealthcheck", "checked", ({ series }) => series?.count === 2);
  const anyFamily = ({ note, ...event }: Record<string, unknown>) => ({
    ...event,
    note: String(note).replace(/tcp[46] \S+: bind/, "LISTEN: bind"),
  });
  expect(anyFamily(comparable(failed) as Record<string, unknown>)).toEqual(
    anyFamily(theirs.get("FailedToStartServiceHealthcheck") as Record<string, unknown>),
  );
  expect(failed.note).toMatch(
    /^node node1 failed to start healthcheck "default\/checked" on port 30998: listen tcp[46] \S+:30998: bind: address already in use$/,
  );
});

test("a health server without a port: told once, counted at each further try, and well when the port is free", async () => {
  const failed = await event("FailedToStartProxierHealthcheck", "node1", ({ series }) => (series?.count ?? 0) >= 2);
  expect(failed).toMatchObject({
    type: "Warning",
    action: "StartKubeProxy",
    note: `healthz server failed: failed to start proxy healthz on 0.0.0.0:${HEALTH_PORT}: listen tcp 0.0.0.0:${HEALTH_PORT}: bind: address already in use`,
  });
  await listener.stop("SIGKILL");
  await eventually("the health server listens", async () =>
    (await bed.agent.report())?.servers.health === `0.0.0.0:${HEALTH_PORT}` ? true : undefined,
  );
});

test("a Service that loses an address to an older one is told so", async () => {
  const claim = { externalIPs: ["192.0.2.7"] };
  await bed.plane.apply(service("older", claim));
  // The API server's clock has seconds.
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  await bed.plane.apply(service("younger", claim));
  const lost = await event("FrontendConflict", "younger");
  expect(lost).toMatchObject({ type: "Warning", regarding: { kind: "Service", namespace: "default" } });
  expect(lost.note).toMatch(/192\.0\.2\.7.* belongs to default\/older/);
  expect((await events("FrontendConflict")).map(({ regarding }) => regarding.name)).toEqual(["younger"]);
});

test("a Service that finds no room is told within 10 s, and nobody else", async () => {
  await bed.plane.apply(service("surplus"));
  const appliedMs = Date.now();
  const refused = await event("NoCapacity", "surplus");
  expect(Date.parse(refused.metadata.creationTimestamp) - appliedMs).toBeLessThan(10_000);
  expect(refused).toMatchObject({ type: "Warning", regarding: { kind: "Service", namespace: "default" } });
  expect(refused.note).toMatch(/^node node1 has no room for default\/surplus:/);
  expect((await events("NoCapacity")).map(({ regarding }) => regarding.name)).toEqual(["surplus"]);
});

test("every write was allowed by the role, and no event is written twice", () => {
  const writes = bed.plane.agentRequests().filter(({ verb }) => !["get", "list", "watch"].includes(verb));
  const own = writes.filter(({ agent }) => agent === "portolan");
  expect(own.length).toBeGreaterThan(5);
  expect(own.filter(({ uri }) => !uri.startsWith("/apis/events.k8s.io/v1/namespaces/default/events"))).toEqual([]);
  expect(own.filter(({ code }) => code >= 300)).toEqual([]);
});
