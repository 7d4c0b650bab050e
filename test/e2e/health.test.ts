// SPDX-License-Identifier: Apache-2.0
// The servers that probes, load balancers and scrapers ask: what portolan answers is what the real kube-proxy answers on
// the same node with the same configuration, byte for byte; times are masked.

import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { eventually } from "../support/daemon.ts";
import { askRaw, masked, type RawRequest } from "../support/raw-http.ts";
import { Bed } from "./bed.ts";
import { besideKubeProxy, proxyConfiguration } from "./kube-proxy.ts";
import { service } from "./objects.ts";

const HEALTH = 10_256;
const METRICS = 10_249;
const CHECK_PORT = 30_999;
const EXCLUDED = "ToBeDeletedByClusterAutoscaler";

let bed: Bed;
/** Answers by question, of kube-proxy and of portolan. */
let theirs: Map<string, string>;
let ours: Map<string, string>;

const health = (line: string, ...headers: string[]): RawRequest => ({ host: "127.0.0.1", port: HEALTH, line, headers });
const metrics = (line: string, ...headers: string[]): RawRequest => ({
  host: "127.0.0.1",
  port: METRICS,
  line,
  headers,
});

const HEALTH_QUESTIONS: readonly RawRequest[] = [
  health("GET /healthz"),
  health("GET /livez"),
  health("HEAD /healthz"),
  health("POST /livez?verbose=1"),
  health("DELETE /healthz"),
  health("GET /livez", "Connection: close"),
  { ...health("GET /livez", "X-Version: 1.0"), version: "1.0" },
  { ...health("GET /livez", "X-Version: 1.0", "Connection: keep-alive"), version: "1.0" },
  health("GET /"),
  health("GET /healthz/"),
  health("HEAD /metrics"),
  { host: "::1", port: HEALTH, line: "GET /livez" },
];

const METRICS_QUESTIONS: readonly RawRequest[] = [
  metrics("GET /healthz"),
  metrics("HEAD /healthz"),
  metrics("PUT /healthz?x=y"),
  metrics("GET /healthz/ping"),
  metrics("GET /livez"),
  metrics("GET /"),
  metrics("HEAD /proxyMode"),
  metrics("GET /configz"),
  metrics("DELETE /metrics/slis"),
  metrics("GET /debug/pprof/"),
  metrics("GET /debug/flags/v"),
  metrics("GET /flagz", "Accept: application/json"),
  metrics("GET /statusz", "Accept: application/json"),
];

/** Well-formed questions of any kind: methods, paths, headers, bodies, versions. The same ones for either. */
function anyQuestions(port: number, paths: readonly string[]): RawRequest[] {
  const question = fc.record({
    method: fc.constantFrom("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"),
    path: fc.constantFrom(...paths),
    headers: fc.subarray(ANY_HEADERS, { maxLength: 2 }),
    old: fc.integer({ min: 0, max: 4 }).map((n) => n === 0),
    body: fc.constantFrom("", "", "abc", "x".repeat(900)),
  });
  const made = fc
    .sample(question, { seed: 1, numRuns: 60 })
    .map(({ method, path, headers, old, body }, i): RawRequest => {
      const sent = { host: "127.0.0.1", port, line: `${method} ${path}`, headers: [...headers, `X-Question: ${i}`] };
      return { ...sent, ...(old ? { version: "1.0" } : {}), ...(method.startsWith("P") ? { body } : {}) };
    });
  return made;
}
const ANY_HEADERS = [
  ...[
    "Connection: close",
    "Connection: keep-alive",
    "Accept: application/json",
    "Accept-Encoding: gzip",
    "Range: bytes=0-1",
  ],
  ...["User-Agent: kube-probe/1.36", "If-None-Match: *", "Origin: http://a", "Authorization: Bearer x", "Cookie: a=b"],
];
const HEALTH_PATHS =
  "/healthz /livez / /healthz/ /livez?x=y /metrics /Healthz /healthz;x /healthz/x http://node/livez".split(" ");
const METRICS_PATHS = "/healthz /healthz/ping /healthz?x /livez /configz /configz/ /proxymode /flagz/ /healthz/x".split(
  " ",
);

/** Any method and any path, on the addresses that NodePorts answer on. */
const checkQuestions = (): RawRequest[] => {
  const [ipv4, ipv6] = [bed.node.ipv4, bed.node.ipv6];
  return [
    { host: ipv4, port: CHECK_PORT, line: "GET /" },
    { host: ipv4, port: CHECK_PORT, line: "POST /anything?x=y" },
    { host: ipv4, port: CHECK_PORT, line: "HEAD /healthz" },
    { host: ipv6, port: CHECK_PORT, line: "GET /" },
    { host: "127.0.0.1", port: CHECK_PORT, line: "GET /" },
  ];
};

/** Two ready endpoints on this node, each on two ports, one elsewhere, one that terminates; none of IPv6 is here. */
function balanced(): object[] {
  const ready = { ready: true, serving: true, terminating: false };
  const going = { ready: false, serving: true, terminating: true };
  const slice = (name: string, addressType: string, endpoints: object[]): object => ({
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name, namespace: "default", labels: { "kubernetes.io/service-name": "balanced" } },
    addressType,
    ports: [
      { name: "tcp", protocol: "TCP", port: 8080 },
      { name: "udp", protocol: "UDP", port: 8081 },
    ],
    endpoints,
  });
  return [
    service("balanced", {
      type: "LoadBalancer",
      externalTrafficPolicy: "Local",
      healthCheckNodePort: CHECK_PORT,
    }),
    slice("balanced-v4", "IPv4", [
      { addresses: ["10.244.1.11"], nodeName: "node1", conditions: ready },
      { addresses: ["10.244.1.12"], nodeName: "node1", conditions: ready },
      { addresses: ["10.244.1.13"], nodeName: "node1", conditions: going },
      { addresses: ["10.244.2.11"], nodeName: "node2", conditions: ready },
    ]),
    slice("balanced-v6", "IPv6", [{ addresses: ["fd00:10:244:2::11"], nodeName: "node2", conditions: ready }]),
  ];
}

async function taint(effect: string): Promise<void> {
  await bed.plane.kubectl(["taint", "node", "node1", `${EXCLUDED}${effect}`]);
}

/** All answers, and those of the health server once more while the Node is on its way out. */
async function interview(): Promise<Map<string, string>> {
  const place = { netns: bed.node.netns };
  const answers = new Map<string, string>();
  const ask = async (when: string, questions: readonly RawRequest[]): Promise<void> => {
    const heard = await askRaw(place, questions);
    questions.forEach((question, i) => {
      const { host, port, line, headers = [] } = question;
      // Node's status line names the version that the server speaks, Go's the one that it was asked in.
      const answer = masked(heard[i] ?? "").replace(/^HTTP\/1\.0/, "HTTP/1.1");
      answers.set([when, host, port, line, ...headers].join(" "), answer);
    });
  };
  await eventually("the health checks of Services", async () => {
    const heard = await askRaw(place, checkQuestions());
    return heard[0]?.includes('localEndpoints": 2') && heard[3]?.startsWith("HTTP") ? true : undefined;
  });
  await ask("serving", [...HEALTH_QUESTIONS, ...METRICS_QUESTIONS, ...checkQuestions()]);
  await ask("any", [...anyQuestions(HEALTH, HEALTH_PATHS), ...anyQuestions(METRICS, METRICS_PATHS)]);
  await taint("=1:NoSchedule");
  await eventually("the node is out", async () => {
    const [answer = ""] = await askRaw(place, [health("GET /healthz")]);
    return answer.startsWith("HTTP/1.1 503") ? true : undefined;
  });
  await ask("excluded", [...HEALTH_QUESTIONS, ...checkQuestions()]);
  await taint("-");
  return answers;
}

/** The real kube-proxy, until it has been asked everything. */
function askKubeProxy(): Promise<Map<string, string>> {
  return besideKubeProxy(bed, interview);
}

beforeAll(async () => {
  bed = await Bed.create({ pods: 0 });
  await bed.plane.apply(...balanced());
  theirs = await askKubeProxy();
  await bed.startAgent({ config: proxyConfiguration(bed) }).inSync();
  ours = await interview();
});

afterAll(() => bed?.remove());

test("both were asked the same, and answered", () => {
  expect([...ours.keys()]).toEqual([...theirs.keys()]);
  expect(theirs.size).toBeGreaterThan(160);
  expect([...theirs.values()].filter((answer) => !/^(HTTP\/1.1 |ECONNREFUSED)/.test(answer))).toEqual([]);
});

test("health server: status lines, headers and bodies are kube-proxy's", () => {
  const of = (answers: ReadonlyMap<string, string>) => [...answers].filter(([key]) => key.includes(` ${HEALTH} `));
  expect(of(ours)).toEqual(of(theirs));
  expect(theirs.get(`serving 127.0.0.1 ${HEALTH} GET /healthz`)).toMatch(/^HTTP\/1.1 200 [\s\S]*"nodeEligible":true/);
  expect(theirs.get(`excluded 127.0.0.1 ${HEALTH} GET /healthz`)).toMatch(/^HTTP\/1.1 503 [\s\S]*"nodeEligible":false/);
  expect(theirs.get(`excluded 127.0.0.1 ${HEALTH} GET /livez`)).toMatch(/^HTTP\/1.1 200 /);
});

test("health checks of Services: the same, on the same addresses", () => {
  const of = (answers: ReadonlyMap<string, string>) => [...answers].filter(([key]) => key.includes(` ${CHECK_PORT} `));
  expect(of(ours)).toEqual(of(theirs));
  expect(theirs.get(`serving ${bed.node.ipv4} ${CHECK_PORT} GET /`)).toContain("X-Load-Balancing-Endpoint-Weight: 2");
  expect(theirs.get(`serving ${bed.node.ipv6} ${CHECK_PORT} GET /`)).toMatch(/^HTTP\/1.1 503 /);
  expect(theirs.get(`serving 127.0.0.1 ${CHECK_PORT} GET /`)).toMatch(/^ECONNREFUSED/);
});

test("metrics server: the same but for the name of the mode", () => {
  const of = (answers: ReadonlyMap<string, string>) =>
    [...answers]
      .filter(([key]) => key.includes(` ${METRICS} `))
      .map(([key, answer]) => [
        key,
        key.includes("proxyMode") ? answer.replace(/(?<=Content-Length: )\d+/, "N") : answer,
      ]);
  expect(of(ours)).toEqual(of(theirs));
});

test("an API server that is away changes neither", async () => {
  await bed.plane.stopApiServer();
  await bed.agent.saysIsAway(bed.plane.server);
  const answers = await askRaw({ netns: bed.node.netns }, [health("GET /livez"), health("GET /healthz")]);
  expect(answers.map((answer) => answer.slice(0, 15))).toEqual(["HTTP/1.1 200 OK", "HTTP/1.1 200 OK"]);
  await bed.plane.startApiServer();
});

test("nothing is open before the Node is known; it is eligible then, and stays so when it is deleted outright", async () => {
  await bed.agent.daemon.stop("SIGTERM");
  await bed.plane.kubectl(["delete", "node", "node1"]);
  const place = { netns: bed.node.netns };
  const ask = async () => await askRaw(place, [health("GET /healthz"), health("GET /livez"), metrics("GET /healthz")]);
  const codes = async () => (await ask()).map((answer) => (answer.startsWith("HTTP") ? answer.slice(9, 12) : answer));
  const logged = bed.agent.daemon.log().length;
  const agent = bed.startAgent({ config: proxyConfiguration(bed) });
  await agent.daemon.until("watches", async () => ((await agent.report()) === undefined ? undefined : true));
  const refused = ["ECONNREFUSED", "ECONNREFUSED", "ECONNREFUSED"];
  expect(await codes()).toEqual(refused);
  // It waits for half a minute, in which a slow machine may not have come so far.
  const waits = (): boolean => !agent.daemon.log().slice(logged).includes("going on without");
  for (let i = 0; i < 5; i++) {
    const seen = await codes();
    if (waits()) expect(seen).toEqual(refused);
  }
  await bed.plane.apply({ apiVersion: "v1", kind: "Node", metadata: { name: "node1" } });
  const seen = await codes();
  if (waits()) expect(seen).toEqual(refused);
  const addresses = [{ type: "InternalIP", address: bed.node.ipv4 }];
  await bed.plane.patchStatus(["node", "node1"], { addresses });
  await agent.inSync();
  expect(await codes()).toEqual(["200", "200", "200"]);
  await bed.plane.kubectl(["delete", "node", "node1"]);
  await agent.daemon.until("says so", () =>
    agent.daemon.log().includes("our Node object was deleted") ? true : undefined,
  );
  expect(await codes()).toEqual(["200", "200", "200"]);
});

test("started while the API server is away: alive after the wait for the Node, and not eligible", async () => {
  await bed.agent.daemon.stop("SIGKILL");
  await bed.plane.stopApiServer();
  const agent = bed.startAgent({ config: proxyConfiguration(bed) });
  const place = { netns: bed.node.netns };
  const [livez = "", healthz = ""] = await agent.daemon.until(
    "answers",
    async () => {
      const answers = await askRaw(place, [health("GET /livez"), health("GET /healthz")]);
      return answers.every((answer) => answer.startsWith("HTTP")) ? answers : undefined;
    },
    120_000,
  );
  expect(livez).toMatch(/^HTTP\/1.1 200 [\s\S]*"healthy":true/);
  expect(healthz).toMatch(/^HTTP\/1.1 503 [\s\S]*"nodeEligible":false,"healthy":true/);
  expect((await agent.report())?.synced).toBe(false);
});
