// SPDX-License-Identifier: Apache-2.0
// pt_stats: what the programs did, by reason, summed over the CPUs.

import type { BpfMap, Btf } from "libbpf-ts";
import { viewOf } from "./codecs.ts";
import { statReasons, structLayout } from "./layout.ts";

/** Counter by reason, in lower case ("connect", "connect_reject", …). */
export function readStats(map: BpfMap, btf: Btf): Map<string, bigint> {
  const { at } = structLayout(btf, "stat");
  const stride = Math.ceil(map.info.valueSize / 8) * 8;
  const counters = new Map<string, bigint>();
  statReasons(btf).forEach((reason, index) => {
    const cpus = map.get(new Uint8Array(new Uint32Array([index]).buffer));
    let sum = 0n;
    if (cpus !== null) {
      const view = viewOf(cpus);
      for (let start = 0; start < cpus.length; start += stride) sum += view.getBigUint64(start + at.count, true);
    }
    counters.set(reason.toLowerCase(), sum);
  });
  return counters;
}
