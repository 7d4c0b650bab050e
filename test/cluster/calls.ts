// SPDX-License-Identifier: Apache-2.0
// Every way that this node's Services can be called, as checks: by ClusterIP, DNS name and the node's own NodePort, over
// TCP and UDP, IPv4 and IPv6, from pods and from hosts.

import type { Answer, Caller } from "./callers.ts";
import { type Checks, demand } from "./checks.ts";
import { serviceRanges } from "./kubeadm.ts";
import type { Web } from "./workload.ts";

/** The API's ClusterIP. */
const apiAddress = serviceRanges[0].replace(/0\/\d+$/, "1");

/** With random choice among three, a backend is missed by chance once in four million. */
const manyCalls = 40;

/** Of a call that nobody is to answer. */
const silenceSec = 3;

export interface Called {
  readonly web: Web;
  /** Those that may answer: name to IPv4 address. */
  readonly backends: ReadonlyMap<string, string>;
}

/** All calls of all callers. */
export async function checkCalls(checks: Checks, callers: readonly Caller[], called: Called): Promise<void> {
  for (const caller of callers) {
    await checkApi(checks, caller);
    await checkService(checks, caller, called);
    await checkSpread(checks, caller, called);
  }
}

async function checkApi(checks: Checks, caller: Caller): Promise<void> {
  await checks.check(`${caller.name}, API at ${apiAddress}`, () => caller.api(apiAddress));
  if (!caller.podAddress) return;
  await checks.check(`${caller.name}, DNS name of the API`, async () => {
    const found = await caller.lookup("kubernetes.default.svc.cluster.local");
    demand(found === apiAddress, `found ${found}`);
    return found;
  });
  await checks.check(`${caller.name}, API by DNS name`, () => caller.api("kubernetes.default.svc"));
}

async function checkService(checks: Checks, caller: Caller, { web, backends }: Called): Promise<void> {
  const urls = {
    "http by ClusterIP": `http://${web.ipv4}`,
    "http by IPv6 ClusterIP": `http://[${web.ipv6}]`,
    "UDP by ClusterIP": `udp://${web.ipv4}:81`,
    "UDP by IPv6 ClusterIP": `udp://[${web.ipv6}]:81`,
    "http by own node's NodePort": `http://${caller.nodeAddress}:${web.nodePort}`,
    "UDP by own node's NodePort": `udp://${caller.nodeAddress}:${web.nodePort + 1}`,
    ...(caller.podAddress && { "http by DNS name": `http://${web.dnsName}` }),
  };
  for (const [name, url] of Object.entries(urls)) {
    await checks.check(`${caller.name}, ${name}`, async () => {
      const [answer] = await caller.answers(url);
      return demandMember(answer, backends).pod;
    });
  }
}

/** Many calls reach every backend and no other, and those see the pod's own address. */
export async function checkSpread(checks: Checks, caller: Caller, { web, backends }: Called): Promise<void> {
  await checks.check(`${caller.name}, ${backends.size} backends in ${manyCalls} calls`, async () => {
    const answers = await caller.answers(`http://${web.ipv4}`, { times: manyCalls });
    for (const answer of answers) demandMember(answer, backends);
    const reached = Map.groupBy(answers, ({ pod }) => pod);
    demand(reached.size === backends.size && answers.length === manyCalls, `reached ${[...reached.keys()].join(", ")}`);
    return [...reached].map(([pod, calls]) => `${pod} ${calls.length}`).join(", ");
  });
  const { podAddress } = caller;
  if (!podAddress) return;
  await checks.check(`${caller.name}, source address kept`, async () => {
    const answers = await caller.answers(`http://${web.ipv4}`, { times: manyCalls });
    const seen = new Set(answers.map((answer) => answer.client));
    demand(seen.size === 1 && seen.has(podAddress), `${podAddress} was seen as ${[...seen].join(", ")}`);
    return podAddress;
  });
}

/**
 * Before there is a proxy backends answer at their own addresses, and nothing answers at a Service's: else the checks
 * above would prove nothing.
 */
export async function checkWithoutProxy(
  checks: Checks,
  callers: readonly Caller[],
  { web, backends }: Called,
): Promise<void> {
  for (const caller of callers) {
    await checks.check(`${caller.name}, without a proxy: backends by their own addresses`, async () => {
      for (const [name, address] of backends) {
        const [answer] = await caller.answers(`http://${address}:8080`);
        demand(answer?.pod === name, `${answer?.pod} answered for ${name}`);
      }
      return [...backends.values()].join(", ");
    });
  }
  const attempts = callers.flatMap((caller) => [
    { caller, what: `API at ${apiAddress}`, call: () => caller.api(apiAddress, silenceSec) },
    ...[web.ipv4, `[${web.ipv6}]`, `${caller.nodeAddress}:${web.nodePort}`].map((host) => {
      return {
        caller,
        what: `http://${host}`,
        call: () => caller.answers(`http://${host}`, { patienceSec: silenceSec }),
      };
    }),
  ]);
  // At once: each takes as long as a caller is patient.
  const outcomes = await Promise.all(attempts.map(({ call }) => outcome(call)));
  for (const [index, { caller, what }] of attempts.entries()) {
    await checks.check(`${caller.name}, without a proxy: no ${what}`, async () => {
      const told = /context deadline exceeded|i\/o timeout|connection refused|network is unreachable/;
      const seen = told.exec(outcomes[index] ?? "")?.[0];
      return seen ?? Promise.reject(new Error(outcomes[index]));
    });
  }
}

/** How a call went, in words. */
async function outcome(call: () => Promise<unknown>): Promise<string> {
  try {
    return `answered: ${JSON.stringify(await call())}`;
  } catch (error) {
    return (error as Error).message;
  }
}

function demandMember(answer: Answer | undefined, backends: ReadonlyMap<string, string>): Answer {
  if (!answer || !backends.has(answer.pod)) throw new Error(`${answer?.pod} answered, which is no backend`);
  return answer;
}
