// SPDX-License-Identifier: Apache-2.0
// portolan demo.
import type { CommandSpec } from "./usage.ts";
export const demoCommand: CommandSpec = { usage: "demo", summary: "x", details: "", flags: [], run: async () => 1 };
