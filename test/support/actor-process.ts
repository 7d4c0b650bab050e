// SPDX-License-Identifier: Apache-2.0
// The process behind actor.ts: servers that say which of their addresses was called and by whom, and calls.

import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { connect, createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { ActorRequest, Arrival, Calls, Listener, Tally, Target } from "./actor.ts";
import { answerLines } from "./line-process.ts";

/** "ENDPOINT CALLER" of an answer, or the errno. */
type Outcome = { readonly text: string } | { readonly error: string };

/** Calls in flight in this process, whatever they belong to: more would only wait for the processor and time out. */
const MOST_CALLS = 32;

const served = new Set<string>();
const place = ({ address, port }: Target): string =>
  address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
const errorCode = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? String(error);

async function serve(listeners: readonly Listener[]): Promise<void> {
  const missing = listeners.filter((listener) => {
    const key = `${listener.protocol} ${place(listener)}`;
    return !served.has(key) && served.add(key);
  });
  await Promise.all(missing.map((listener) => (listener.protocol === "TCP" ? serveTcp(listener) : serveUdp(listener))));
}

function serveTcp(listener: Listener): Promise<void> {
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.end(`${place(listener)} ${socket.remoteAddress ?? ""}`);
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ port: listener.port, host: listener.address, backlog: 512 }, resolve);
  });
}

function serveUdp(listener: Listener): Promise<void> {
  const socket = createSocket(listener.address.includes(":") ? "udp6" : "udp4", (_, from) => {
    socket.send(`${place(listener)} ${from.address}`, from.port, from.address);
  });
  return new Promise((resolve, reject) => {
    socket.once("error", reject);
    socket.bind(listener.port, listener.address, resolve);
  });
}

function callTcp({ address, port }: Target, { source, timeoutMs }: Calls): Promise<Outcome> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port, ...(source === null ? {} : { localAddress: source }) });
    let text = "";
    const done = (outcome: Outcome): void => {
      clearTimeout(timer);
      // A reset: no port is kept in TIME_WAIT.
      socket.resetAndDestroy();
      resolve(outcome);
    };
    const timer = setTimeout(() => done({ error: "TIMEOUT" }), timeoutMs);
    socket.on("error", (error) => done({ error: errorCode(error) }));
    socket.on("data", (data) => {
      text += data;
    });
    socket.on("end", () => done({ text }));
  });
}

async function openUdp(target: Target, source: string | null): Promise<UdpSocket> {
  const socket = createSocket(target.address.includes(":") ? "udp6" : "udp4");
  if (source !== null) await new Promise<void>((resolve) => socket.bind({ address: source, port: 0 }, resolve));
  return socket;
}

/** One datagram and its answer over a socket that stays open. */
function exchange(socket: UdpSocket, target: Target, { style, timeoutMs }: Calls): Promise<Outcome> {
  return new Promise((resolve) => {
    const done = (outcome: Outcome): void => {
      clearTimeout(timer);
      socket.removeAllListeners("message").removeAllListeners("error");
      resolve(outcome);
    };
    const timer = setTimeout(() => done({ error: "TIMEOUT" }), timeoutMs);
    const failed = (error?: Error | null): void => {
      if (error) done({ error: errorCode(error) });
    };
    socket.once("error", failed);
    socket.once("message", (data) => done({ text: String(data) }));
    if (style !== "connect") socket.send("?", target.port, target.address, failed);
    // A refused connect() is told to the callback, which is typed as if it never was.
    else
      socket.connect(target.port, target.address, (error?: Error) =>
        error ? failed(error) : socket.send("?", failed),
      );
  });
}

async function callUdp(target: Target, calls: Calls): Promise<Outcome> {
  const socket = await openUdp(target, calls.source);
  try {
    return await exchange(socket, target, calls);
  } finally {
    socket.close();
  }
}

let inFlight = 0;
const waiting: (() => void)[] = [];

/** Waits for its turn; a turn lasts as long as `run`. */
async function inTurn<T>(run: () => Promise<T>): Promise<T> {
  if (inFlight >= MOST_CALLS) await new Promise<void>((resolve) => waiting.push(resolve));
  else inFlight++;
  try {
    return await run();
  } finally {
    const next = waiting.shift();
    if (next) next();
    else inFlight--;
  }
}

/** The socket of style "one socket", and what calls one target once. */
async function callerOf(calls: Calls): Promise<{ once: (target: Target) => Promise<Outcome>; close: () => void }> {
  const first = calls.targets[0];
  if (calls.style === "one socket" && first) {
    const socket = await openUdp(first, calls.source);
    return { once: (target) => exchange(socket, target, calls), close: () => socket.close() };
  }
  const once = calls.protocol === "TCP" ? callTcp : callUdp;
  return { once: (target) => once(target, calls), close: () => undefined };
}

const AT_ONCE = 4;
/** More would tell nothing new, and silence takes time. */
const ENOUGH_FAILURES = 3;

async function callTimes(calls: Calls): Promise<Tally> {
  const outcomes: Outcome[] = [];
  const { once, close } = await callerOf(calls);
  const some = async (count: number): Promise<void> => {
    const numbers = Array.from({ length: count }, (_, n) => outcomes.length + n);
    const call = (n: number): Promise<Outcome> => inTurn(() => once(calls.targets[n % calls.targets.length] as Target));
    if (calls.oneByOne) for (const n of numbers) outcomes.push(await call(n));
    else outcomes.push(...(await Promise.all(numbers.map(call))));
  };
  const failures = (): Outcome[] => outcomes.filter((outcome) => "error" in outcome);
  while (outcomes.length < calls.times && failures().length < ENOUGH_FAILURES) {
    await some(calls.oneByOne ? 1 : Math.min(AT_ONCE, calls.times - outcomes.length));
  }
  close();
  return tallyOf(outcomes);
}

function tallyOf(outcomes: readonly Outcome[]): Tally {
  const answers: Record<string, number> = {};
  const errors: Record<string, number> = {};
  const callers = new Set<string>();
  for (const outcome of outcomes) {
    if ("error" in outcome) {
      errors[outcome.error] = (errors[outcome.error] ?? 0) + 1;
      continue;
    }
    const [endpoint = "", caller = ""] = outcome.text.split(" ");
    answers[endpoint] = (answers[endpoint] ?? 0) + 1;
    callers.add(caller);
  }
  return { answers, errors, callers: [...callers].sort() };
}

async function arrival({ from, withinMs, ...target }: Arrival): Promise<void> {
  const deadline = performance.now() + withinMs;
  const calls: Omit<Calls, "timeoutMs"> = {
    protocol: "TCP",
    style: "connect",
    targets: [],
    source: null,
    times: 1,
    oneByOne: true,
  };
  let last: Outcome | undefined;
  let timeoutMs = 100;
  while (performance.now() < deadline) {
    last = await callTcp(target, { ...calls, timeoutMs });
    if ("text" in last && last.text.split(" ")[0] === from) return;
    // A slow answer comes at last.
    if ("error" in last && last.error === "TIMEOUT") timeoutMs = Math.min(2 * timeoutMs, 5_000);
    await sleep(10);
  }
  throw new Error(`${place(target)} is not answered by ${from} within ${withinMs} ms, last: ${JSON.stringify(last)}`);
}

function handle(request: ActorRequest): Promise<unknown> {
  switch (request.op) {
    case "serve":
      return serve(request.listeners);
    case "call":
      return callTimes(request.calls);
    case "arrival":
      return arrival(request.arrival);
  }
}

await answerLines(handle);
