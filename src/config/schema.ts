// SPDX-License-Identifier: Apache-2.0
// What may stand in a PortolanConfiguration, with every default. Reading files is config.ts' part.

import { isIP } from "node:net";
import * as v from "valibot";

const path = v.pipe(v.string(), v.startsWith("/", "must be an absolute path"));
const upTo = (most: number) =>
  v.pipe(
    v.number(),
    v.integer("must be a whole number"),
    v.minValue(2, "must be 2 or more"),
    v.maxValue(most, `must be ${most} or less`),
  );
/** 128 times what ten thousand Services need; memory is taken for every entry of an array. */
const size = upTo(2 ** 24);

/** "10.0.0.0/8", "fd00::/8". */
export function isCidr(text: string): boolean {
  const [address = "", bits = "", ...rest] = text.split("/");
  const family = isIP(address);
  return family !== 0 && rest.length === 0 && /^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128);
}

/** "kubernetes" or "dir:PATH". */
export function isSource(text: string): boolean {
  return text === "kubernetes" || (text.startsWith("dir:") && text.length > "dir:".length);
}

const cidrs = v.array(v.pipe(v.string(), v.check(isCidr, 'must be a CIDR, as "10.0.0.0/8"')));
const nodePortCidrs = v.pipe(
  v.array(v.string()),
  v.checkItems(
    (item) => item !== "primary",
    '"primary" needs the Node object\'s addresses, which this release does not follow yet: list CIDRs, or leave it out for all addresses',
  ),
  v.checkItems((item) => item === "primary" || isCidr(item), 'must be a CIDR, as "10.0.0.0/8"'),
);

/** Entries of the maps; pages, powers of two and the kernel's limits are checked here so that load cannot surprise. */
const mapSizes = v.strictObject({
  /** ServicePorts, one for each family. */
  units: v.nullish(size, 131_072),
  /** Address, port and protocol combinations. */
  frontends: v.nullish(size, 262_144),
  /** Endpoints, counted once for each ServicePort. */
  backends: v.nullish(size, 524_288),
  /** Places in the extents that are chosen from. */
  slots: v.nullish(v.pipe(upTo(2 ** 26), v.multipleOf(1024, "must be a multiple of 1024")), 1_048_576),
  /** Connected sockets whose peer is remembered without a hash. */
  sockets: v.nullish(
    v.pipe(
      size,
      v.check((n) => Number.isInteger(Math.log2(n)), "must be a power of two"),
    ),
    65_536,
  ),
  affinity: v.nullish(size, 65_536),
  udpPeers: v.nullish(size, 32_768),
});

/** The file's form. `null` anywhere means the default. */
export const portolanConfiguration = v.strictObject({
  apiVersion: v.literal("portolan.io/v1alpha1"),
  kind: v.literal("PortolanConfiguration"),
  source: v.nullish(v.pipe(v.string(), v.check(isSource, 'must be "kubernetes" or "dir:PATH"')), "kubernetes"),
  kubeconfig: v.optional(v.nullable(path), null),
  apiServers: v.nullish(v.array(v.pipe(v.string(), v.regex(/^https?:\/\/[^/\s]+$/, "must be https://HOST:PORT"))), []),
  hostnameOverride: v.optional(v.nullable(v.pipe(v.string(), v.minLength(1, "must not be empty"))), null),
  cgroup: v.optional(v.nullable(path), null),
  bpffs: v.nullish(path, "/sys/fs/bpf"),
  runDir: v.nullish(path, "/run/portolan"),
  stateDir: v.nullish(path, "/var/lib/portolan"),
  replacement: v.nullish(v.picklist(["strict", "probe"], 'must be "strict" or "probe"'), "strict"),
  mapSizes: v.nullish(mapSizes, {}),
  bindGuard: v.nullish(v.boolean(), true),
  localhostNodePorts: v.nullish(v.boolean(), true),
  reserveNodePorts: v.nullish(v.boolean(), true),
  nodePortAddresses: v.optional(v.nullable(nodePortCidrs), null),
  externalIpsAllowed: v.optional(v.nullable(cidrs), null),
  logLevel: v.nullish(
    v.picklist(["trace", "debug", "info", "warn", "error"], "must be trace, debug, info, warn or error"),
    "info",
  ),
});

/** The settings of one agent, complete: no default is decided anywhere else. */
export type Config = Omit<v.InferOutput<typeof portolanConfiguration>, "apiVersion" | "kind">;
export type MapSizes = Config["mapSizes"];
