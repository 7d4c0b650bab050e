// SPDX-License-Identifier: Apache-2.0
// What runs in a pod (or on a node) of the e2e tests: a TCP and UDP server that says its name, and a client that calls
// where the test tells it (pod.ts).
// node pod-process.ts NAME [PORT]: with a port it serves.

import { createSocket } from "node:dgram";
import { request } from "node:https";
import { connect, createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { answerLines } from "../support/line-process.ts";
import type { Call, Calls, Outcome, Race, Request, Tally } from "./pod.ts";

const [name = "", port] = process.argv.slice(2);

async function serve(port: number): Promise<void> {
  const tcp = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.once("data", (nonce) => socket.end(`${name} ${nonce}`));
  });
  await new Promise<void>((resolve) => tcp.listen({ port, host: "::" }, resolve));
  const udp = createSocket("udp6", (nonce, from) => udp.send(`${name} ${nonce}`, from.port, from.address));
  await new Promise<void>((resolve) => udp.bind(port, "::", resolve));
}

const TICK_MS = 20;

/** Calls `over` after so long, for as much of which this process ran; gives what ends the wait. */
function patience(ms: number, over: () => void): () => void {
  let left = ms;
  let last = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    left -= Math.min(now - last, 2 * TICK_MS);
    last = now;
    if (left <= 0) over();
  }, TICK_MS);
  return () => clearInterval(timer);
}

const errorCode = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? String(error);
const endpoint = (address = "", port = 0): string =>
  address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;

/** Splits a server's "NAME NONCE"; another nonce than ours would be someone else's answer. */
function answered(text: string, nonce: string, peer: string): Outcome {
  const [by = "", echoed] = text.split(" ");
  return echoed === nonce ? { by, peer } : { error: "WRONG_ANSWER" };
}

function callTcp({ host, port, timeoutMs = 5_000 }: Call): Promise<Outcome> {
  const nonce = String(Math.random());
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    let text = "";
    let peer = "";
    const done = (outcome: Outcome) => {
      calm();
      socket.destroy();
      resolve(outcome);
    };
    const calm = patience(timeoutMs, () => done({ error: "TIMEOUT" }));
    socket.on("error", (error) => done({ error: errorCode(error) }));
    socket.on("connect", () => {
      peer = endpoint(socket.remoteAddress, socket.remotePort);
      socket.write(nonce);
    });
    socket.on("data", (data) => {
      text += data;
    });
    socket.on("end", () => done(answered(text, nonce, peer)));
  });
}

function callUdp({ host, port, timeoutMs = 5_000, connected = false }: Call): Promise<Outcome> {
  const nonce = String(Math.random());
  return new Promise((resolve) => {
    const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
    const done = (outcome: Outcome) => {
      calm();
      socket.close();
      resolve(outcome);
    };
    const calm = patience(timeoutMs, () => done({ error: "TIMEOUT" }));
    const failed = (error?: Error | null) => {
      if (error) done({ error: errorCode(error) });
    };
    socket.once("error", failed);
    socket.once("message", (data, from) => done(answered(String(data), nonce, endpoint(from.address, from.port))));
    if (!connected) {
      socket.send(nonce, port, host, failed);
      return;
    }
    // A refused connect() is told to the callback, which is typed as if it never was.
    socket.connect(port, host, (error?: Error) => (error ? failed(error) : socket.send(nonce, failed)));
  });
}

const once = (call: Call): Promise<Outcome> => (call.protocol === "UDP" ? callUdp(call) : callTcp(call));

function count(tally: Tally, outcome: Outcome): void {
  if ("error" in outcome) {
    tally.errors[outcome.error] = (tally.errors[outcome.error] ?? 0) + 1;
    return;
  }
  tally.answers[outcome.by] = (tally.answers[outcome.by] ?? 0) + 1;
  if (!tally.peers.includes(outcome.peer)) tally.peers.push(outcome.peer);
}

async function callTimes({ times, ...call }: Calls): Promise<Tally> {
  const tally: Tally = { answers: {}, errors: {}, peers: [] };
  for (let i = 0; i < times; i++) count(tally, await once(call));
  return tally;
}

let load: { readonly tally: Tally; readonly workers: Promise<void>; stop: boolean } | undefined;

function startLoad(call: Call): void {
  const tally: Tally = { answers: {}, errors: {}, peers: [] };
  const worker = async () => {
    while (!running.stop) {
      count(tally, await once(call));
      await sleep(2);
    }
  };
  const running = { tally, workers: Promise.resolve(), stop: false };
  load = running;
  running.workers = Promise.all([worker(), worker()]).then(() => undefined);
}

async function stopLoad(): Promise<Tally> {
  if (!load) throw new Error("no load runs");
  load.stop = true;
  await load.workers;
  return load.tally;
}

/** Watches one kind of a namespace from now on; calls `seen` once for each object's name, with the time its bytes came. */
function watch({ server, ca, token, namespace }: Race, resource: string, seen: (at: bigint) => void): Promise<void> {
  const url = `${server}${resource.replace("NAMESPACE", namespace)}?watch=1`;
  const names = new Set<string>();
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}` };
    const watching = request(url, { ca, headers, checkServerIdentity: () => undefined }, (response) => {
      let rest = "";
      response.setEncoding("utf8").on("data", (chunk: string) => {
        const at = process.hrtime.bigint();
        const lines = (rest + chunk).split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) {
          const { object } = JSON.parse(line) as { object: { metadata: { name: string } } };
          if (!names.has(object.metadata.name)) seen(at);
          names.add(object.metadata.name);
        }
      });
      resolve();
    });
    watching.on("error", reject).end();
  });
}

let race: Promise<number> | undefined;

/** Arms: watches as a client of the API server, and from the moment all objects were seen, connects until it works. */
async function armRace(wanted: Race): Promise<void> {
  let missing = wanted.objects;
  const programmed = Promise.withResolvers<number>();
  race = programmed.promise;
  const seen = async (at: bigint) => {
    if (--missing !== 0) return;
    for (let outcome = await once(wanted); "error" in outcome; outcome = await once(wanted)) await sleep(1);
    programmed.resolve(Number(process.hrtime.bigint() - at) / 1e6);
  };
  await Promise.all([
    watch(wanted, "/api/v1/namespaces/NAMESPACE/services", seen),
    watch(wanted, "/apis/discovery.k8s.io/v1/namespaces/NAMESPACE/endpointslices", seen),
  ]);
}

async function handle(request: Request): Promise<unknown> {
  switch (request.op) {
    case "call":
      return callTimes(request.calls);
    case "startLoad":
      return startLoad(request.call);
    case "stopLoad":
      return stopLoad();
    case "armRace":
      return armRace(request.race);
    case "race":
      return race;
  }
}

if (port) await serve(Number(port));
await answerLines(handle);
