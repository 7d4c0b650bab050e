// SPDX-License-Identifier: Apache-2.0
// Files that nobody would write: each gives settings or a ConfigError, never anything else.

import { expect, test } from "vitest";
import { parseConfig } from "../../../src/config/config.ts";
import { ConfigError } from "../../../src/config/problem.ts";
import { fc } from "../../support/property.ts";
import { ACCEPTED, HEADER as KUBE_PROXY } from "./kube-proxy/cases.ts";

const PORTOLAN = "apiVersion: portolan.io/v1alpha1\nkind: PortolanConfiguration\n";

async function settled(text: string): Promise<"settings" | "refused"> {
  const outcome = await parseConfig("f", text).then(
    () => "settings" as const,
    (error: unknown) => {
      expect(error).toBeInstanceOf(ConfigError);
      expect((error as ConfigError).problems).not.toEqual([]);
      return "refused" as const;
    },
  );
  return outcome;
}

test.each([
  [
    "aliases without end",
    "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c]\n",
  ],
  ["an alias of nothing", "mode: *none\n"],
  ["an alias of itself", "conntrack: &a {min: *a}\n"],
])("%s is refused", async (_, text) => {
  expect(await settled(KUBE_PROXY + text)).toBe("refused");
  expect(await settled(PORTOLAN + text)).toBe("refused");
});

test("of two documents kube-proxy's is the first, and says so; portolan's is one alone", async () => {
  const { config, notes } = await parseConfig("f", `${KUBE_PROXY}mode: nftables\n---\nmode: [\n`);
  expect([config.mode, notes]).toEqual(["nftables", ["f: only the first of its documents counts"]]);
  expect(await settled(`${PORTOLAN}---\nmode: nftables\n`)).toBe("refused");
});

test.each([
  ["keys that are no text", "1: 2\nnull: 3\n? {a: b}\n: c\n"],
  [
    "names that objects have anyway",
    "__proto__: {mode: x}\nconstructor: 1\ntoString: 2\nconntrack: {__proto__: {min: x}}\n",
  ],
  ["merged keys", "x: &x {min: 5}\nconntrack: {<<: *x}\n"],
])("%s: unknown fields of kube-proxy's are passed over", async (_, text) => {
  expect(await settled(KUBE_PROXY + text)).toBe("settings");
});

/** Any JSON value in the place of any field. */
test("any value in any place", async () => {
  const { config } = await parseConfig("f", KUBE_PROXY + (ACCEPTED["everything"] ?? ""));
  const own = fc.constantFrom(...Object.keys(config));
  const foreign = fc.constantFrom(
    ..."featureGates clientConnection logging hostnameOverride bindAddress mode iptables ipvs nftables".split(" "),
    ..."detectLocal clusterCIDR nodePortAddresses oomScoreAdj conntrack configSyncPeriod winkernel".split(" "),
  );
  const inner = fc.constantFrom(
    "min",
    "vmodule",
    "options",
    "excludeCIDRs",
    "masqueradeBit",
    "syncPeriod",
    "text",
    "qps",
  );
  const value = fc.oneof(fc.jsonValue(), fc.dictionary(inner, fc.jsonValue()), fc.array(fc.jsonValue()));
  const file = (header: string, key: fc.Arbitrary<string>) =>
    fc.dictionary(key, value).map(
      (fields) =>
        header +
        Object.entries(fields)
          .map(([k, v]) => `${k}: ${JSON.stringify(v)}\n`)
          .join(""),
    );
  await fc.assert(
    fc.asyncProperty(fc.oneof(file(KUBE_PROXY, foreign), file(PORTOLAN, own)), async (text) => {
      await settled(text);
    }),
    { numRuns: 500 },
  );
});

test("any text", async () => {
  await fc.assert(
    fc.asyncProperty(fc.constantFrom("", KUBE_PROXY, PORTOLAN), fc.string({ unit: "binary" }), async (header, text) => {
      await settled(header + text);
    }),
    { numRuns: 500 },
  );
});
