// SPDX-License-Identifier: Apache-2.0
// /metrics/slis: how often the metrics server's own /healthz was asked. The one metric that Kubernetes calls stable here.

import { goNumber } from "./go-number.ts";
import { processStartSec } from "./process-metrics.ts";

export class Slis {
  #checks = 0;
  #reset = false;

  /** /healthz was asked; it always says "ok". */
  checked(): void {
    this.#checks++;
  }

  /** Also takes away the start time, for good: so it is with kube-proxy. */
  reset(): void {
    this.#checks = 0;
    this.#reset = true;
  }

  text(): string {
    const lines: string[] = [];
    if (this.#checks > 0) {
      lines.push(
        "# HELP kubernetes_healthcheck [STABLE] This metric records the result of a single healthcheck.",
        "# TYPE kubernetes_healthcheck gauge",
        'kubernetes_healthcheck{name="ping",type="healthz"} 1',
        "# HELP kubernetes_healthchecks_total [STABLE] This metric records the results of all healthcheck.",
        "# TYPE kubernetes_healthchecks_total counter",
        `kubernetes_healthchecks_total{name="ping",status="success",type="healthz"} ${this.#checks}`,
      );
    }
    if (!this.#reset) {
      lines.push(
        "# HELP process_start_time_seconds [ALPHA] Start time of the process since unix epoch in seconds.",
        "# TYPE process_start_time_seconds gauge",
        `process_start_time_seconds ${goNumber(processStartSec)}`,
      );
    }
    return lines.map((line) => `${line}\n`).join("");
  }
}
