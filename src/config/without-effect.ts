// SPDX-License-Identifier: Apache-2.0
// Settings that are understood and change nothing for callers on this node, told to whoever asks for them.

import type { Config } from "./schema.ts";

interface WithoutEffect {
  readonly field: string;
  readonly why: string;
  asked(config: Config): boolean;
}

const ALL: readonly WithoutEffect[] = [
  {
    field: "masqueradeAll",
    why: "a caller's socket keeps its own address",
    asked: ({ masqueradeAll }) => masqueradeAll,
  },
  {
    field: "detectLocalMode",
    why: "callers are known by their cgroups, not by the device or address that their packets have",
    asked: ({ detectLocalMode }) => /^(?:BridgeInterface|InterfaceNamePrefix)$/.test(detectLocalMode),
  },
  {
    field: "minSyncPeriodSec",
    why: "a change is programmed at once",
    asked: ({ minSyncPeriodSec }) => minSyncPeriodSec > 1,
  },
  {
    field: "configSyncPeriodSec",
    why: "objects are followed by watches, and never handed on again unchanged",
    asked: ({ configSyncPeriodSec }) => configSyncPeriodSec !== 900,
  },
];

/** A sentence for each that was asked for. */
export function withoutEffect(config: Config): string[] {
  return ALL.filter(({ asked }) => asked(config)).map(({ field, why }) => `${field} has no effect: ${why}`);
}
