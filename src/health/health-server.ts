// SPDX-License-Identifier: Apache-2.0
// The proxy's health server: /healthz for load balancers, which also ask whether the node may have traffic at all, and
// /livez for the kubelet, which must not restart a proxy because its node is on the way out.

import { json, notFound, type Route } from "./answer.ts";
import type { ProxyHealth } from "./proxy-health.ts";

/** Told of each answer, for the counters. */
export type HealthAnswered = (path: "healthz" | "livez", code: number) => void;

export function healthRoute(health: ProxyHealth, answered: HealthAnswered): Route {
  return (_request, path) => {
    if (path !== "/healthz" && path !== "/livez") return notFound();
    const kind = path === "/healthz" ? "healthz" : "livez";
    const status = health.isWell(kind) ? 200 : 503;
    answered(kind, status);
    return json(status, health.body(kind));
  };
}
