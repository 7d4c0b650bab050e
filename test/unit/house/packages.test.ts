// SPDX-License-Identifier: Apache-2.0
// What ships, and what it may grow to: the packages in the bundle, by esbuild's own account; versions that are exact; a
// lock file without download addresses.

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

const SHIPPED = [
  "@kubernetes/client-node",
  "@pinojs/redact",
  "atomic-sleep",
  "colorette",
  "commander",
  "dateformat",
  "end-of-stream",
  "fast-copy",
  "fast-safe-stringify",
  "on-exit-leak-free",
  "once",
  "pino",
  "pino-abstract-transport",
  "pino-pretty",
  "pino-std-serializers",
  "prom-client",
  "pump",
  "quick-format-unescaped",
  "safe-stable-stringify",
  "secure-json-parse",
  "sonic-boom",
  "split2",
  "thread-stream",
  "valibot",
  "wrappy",
  "yaml",
];
const DIRECT_MOST = 10;
const SHIPPED_MOST = 50;

interface Manifest {
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
  readonly optionalDependencies: Readonly<Record<string, string>>;
}

const json = <T>(file: string): T => JSON.parse(readFileSync(file, "utf8")) as T;

test("the bundle holds these packages and no others", () => {
  const { inputs } = json<{ inputs: Readonly<Record<string, unknown>> }>("dist/meta.json");
  const packages = Object.keys(inputs).flatMap(
    (input) => /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(input)?.[1] ?? [],
  );
  const shipped = [...new Set(packages)].sort();
  expect(shipped).toEqual(SHIPPED);
  expect(shipped.length).toBeLessThanOrEqual(SHIPPED_MOST);
});

test("direct dependencies are few, and every version is exact", () => {
  const { dependencies, devDependencies, optionalDependencies } = json<Manifest>("package.json");
  expect(Object.keys(dependencies).length).toBeLessThanOrEqual(DIRECT_MOST);
  const loose = Object.entries({ ...dependencies, ...devDependencies, ...optionalDependencies }).filter(
    ([, version]) => !/^\d+\.\d+\.\d+$/.test(version),
  );
  expect(loose).toEqual([]);
});

test("the lock file pins contents, not addresses, and nothing that ships has an install script", () => {
  interface Locked {
    readonly resolved?: string;
    readonly integrity?: string;
    readonly link?: boolean;
    readonly hasInstallScript?: boolean;
  }
  const { packages } = json<{ packages: Readonly<Record<string, Locked>> }>("package-lock.json");
  const installed = Object.entries(packages).filter(([path, { link }]) => path.includes("node_modules/") && !link);
  expect(installed.filter(([, { resolved }]) => resolved !== undefined)).toEqual([]);
  expect(installed.filter(([, { integrity }]) => integrity === undefined)).toEqual([]);
  const scripts = installed.filter(([, { hasInstallScript }]) => hasInstallScript).map(([path]) => path);
  expect(scripts.filter((path) => SHIPPED.some((name) => path.endsWith(`node_modules/${name}`)))).toEqual([]);
});
