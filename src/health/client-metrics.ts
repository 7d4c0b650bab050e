// SPDX-License-Identifier: Apache-2.0
// What this agent asks of the API server, under the names that Kubernetes' own client counts it.

import { Counter, Histogram, type Registry } from "./prometheus.ts";

const DURATION_BUCKETS = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60];
const SIZE_BUCKETS = [64, 256, 512, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216];

/** One request that was answered, or not. */
export interface ClientRequest {
  /** "GET". */
  readonly method: string;
  /** "10.0.0.1:6443". */
  readonly host: string;
  /** HTTP status; null: there was no answer. */
  readonly status: number | null;
  /** Of the whole exchange; null for a watch, which lasts as long as it likes. */
  readonly exchange: { readonly seconds: number; readonly sentBytes: number; readonly receivedBytes: number } | null;
}

export class ClientMetrics {
  readonly #requests;
  readonly #durations;
  readonly #sent;
  readonly #received;

  constructor(registry: Registry) {
    const registers = [registry];
    this.#requests = new Counter({
      name: "rest_client_requests_total",
      help: "[ALPHA] Number of HTTP requests, partitioned by status code, method, and host.",
      labelNames: ["code", "host", "method"],
      registers,
    });
    const histogram = (what: string, text: string, buckets: number[]) =>
      new Histogram({
        name: `rest_client_${what}`,
        help: `[ALPHA] ${text} host.`,
        labelNames: ["host", "verb"],
        buckets,
        registers,
      });
    this.#durations = histogram(
      "request_duration_seconds",
      "Request latency in seconds. Broken down by verb, and",
      DURATION_BUCKETS,
    );
    this.#sent = histogram("request_size_bytes", "Request size in bytes. Broken down by verb and", SIZE_BUCKETS);
    this.#received = histogram("response_size_bytes", "Response size in bytes. Broken down by verb and", SIZE_BUCKETS);
  }

  readonly request = ({ method, host, status, exchange }: ClientRequest): void => {
    this.#requests.inc({ code: status === null ? "<error>" : String(status), host, method });
    if (exchange === null) return;
    const labels = { host, verb: method };
    this.#durations.observe(labels, exchange.seconds);
    this.#sent.observe(labels, exchange.sentBytes);
    this.#received.observe(labels, exchange.receivedBytes);
  };
}
