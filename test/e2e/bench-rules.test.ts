// SPDX-License-Identifier: Apache-2.0
// The quick benchmark's generated rules are those of the real kube-proxy, chain names and all: what it is compared with
// was not built to lose.

import { afterAll, beforeAll, expect, test } from "vitest";
import { Bed } from "../../bench/bed.ts";
import { generatedLane } from "../../bench/generated.ts";
import { KubeProxies } from "../../bench/kube-proxy.ts";
import type { Lane } from "../../bench/lane.ts";
import { benchServices } from "../../bench/services.ts";
import { command } from "../support/daemon.ts";

/** Enough for one Service of each kind, and 12 × 10 endpoints: below the size at which kube-proxy drops comments. */
const COUNT = 12;
const LARGE = 110;

let bed: Bed;
let real: KubeProxies;

beforeAll(async () => {
  bed = await Bed.open();
  real = await KubeProxies.start(bed);
}, 600_000);

afterAll(() => bed?.close(), 60_000);

/** The API server's own Service, which only the real kube-proxy has: its rules, and its chains by name. */
function withoutApiServer(lines: readonly string[]): string[] {
  const chains = lines.flatMap(
    (line) => /-A (KUBE-(?:SVC|SEP)-\w+) .*(?:default\/kubernetes|172\.21\.0\.1)/.exec(line)?.[1] ?? [],
  );
  const chainOf = new RegExp([...chains, "default/kubernetes", "10\\.96\\.0\\.1(?!\\d)", "172\\.21\\.0\\.1"].join("|"));
  return lines.filter((line) => !chainOf.test(line));
}

/** iptables-save without counters; the order of Services is chance in kube-proxy, that of an endpoint's rules is not. */
async function iptables(lane: Lane): Promise<string[]> {
  const saved = await command([`${lane.mode}-save`], { netns: lane.node.netns });
  const lines = saved
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => line.replace(/ \[\d+:\d+\]$/, ""))
    // Needs nfnetlink_acct; counts invalid packets, of which there are none.
    .map((line) => line.replace(/ -m nfacct --nfacct-name {1,2}ct_state_invalid_dropped_pkts/, ""));
  const positions = new Map<string, number>();
  return withoutApiServer(lines)
    .map((line) => {
      const chain = /^-A (KUBE-S(?:VC|EP)-\w+) /.exec(line)?.[1];
      const position = chain ? (positions.get(chain) ?? 0) + 1 : 0;
      if (chain) positions.set(chain, position);
      return `${line} (${position})`;
    })
    .sort();
}

interface NftObject {
  readonly [kind: string]: { readonly handle?: number; readonly table?: string; readonly elem?: unknown[] };
}

/** The table's objects as JSON, each element of a set or map on its own. */
async function nftables(lane: Lane): Promise<string[]> {
  const listed = await command(["nft", "-j", "list", "table", "ip", "kube-proxy"], { netns: lane.node.netns });
  const { nftables: objects } = JSON.parse(listed) as { nftables: NftObject[] };
  const texts = objects.flatMap((object) => {
    const [kind, { handle, elem, ...rest } = {}] = Object.entries(object)[0] ?? [];
    if (kind === "metainfo") return [];
    const named = JSON.stringify({ kind, ...rest });
    return [named, ...(elem ?? []).map((one) => `${named} ${JSON.stringify(one)}`)];
  });
  return withoutApiServer(texts)
    .map((text) => text.replaceAll(lane.node.address, "NODE"))
    .sort();
}

test.each([COUNT, LARGE])("%i Services", { timeout: 300_000 }, async (count) => {
  const services = benchServices(count);
  await real.grow(services);
  for (const mode of ["iptables-nft", "iptables-legacy", "nftables"] as const) {
    const theirs = await real.lane(mode, services);
    const ours = await generatedLane(bed, mode, count);
    const dump = mode === "nftables" ? nftables : iptables;
    const expected = await dump(theirs);
    expect(expected.length, mode).toBeGreaterThan(count * 2);
    expect(await dump(ours), mode).toEqual(expected);
  }
});
