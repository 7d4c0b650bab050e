// SPDX-License-Identifier: Apache-2.0
// The metrics server's pages: those of kube-proxy, under the same paths. It is for whoever is on the node; it says nothing
// of the proxy's health, and changes nothing but how much is logged.

import type { IncomingMessage } from "node:http";
import { type Answer, bare, json, notFound, plain, type Route } from "./answer.ts";
import { expose } from "./exposition.ts";
import { processStartSec } from "./process-metrics.ts";
import { profile } from "./profiles.ts";
import type { Registry } from "./prometheus.ts";
import { Slis } from "./slis.ts";
import { answerZPage, flagPage, statusPage } from "./z-pages.ts";

export interface MetricsPages {
  readonly registry: Registry;
  /** Called before each scrape. */
  readonly beforeScrape: () => void;
  readonly version: string;
  /** The body of /configz. */
  readonly configz: () => string;
  /** The flags of the command line by name. */
  readonly flags: Readonly<Record<string, string>>;
  /** enableProfiling: who may stop and look inside. */
  readonly profiling: boolean;
  /** Sets how much is logged, as kube-proxy's -v counts it. */
  readonly setVerbosity: (verbosity: number) => void;
}

const MODE = "portolan";
const PATHS = ["/configz", "/flagz", "/healthz", "/metrics", "/proxyMode"];
const TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
const MOST_BODY_BYTES = 1_024;

type Page = (request: IncomingMessage) => Answer | Promise<Answer>;

export function metricsRoute(pages: MetricsPages): Route {
  const slis = new Slis();
  const startedMs = performance.timeOrigin;
  const accept = (request: IncomingMessage): string | undefined => request.headers.accept;
  const routes: Record<string, Page> = {
    "/healthz": () => {
      slis.checked();
      return plain(200, "ok");
    },
    "/metrics": async () => {
      pages.beforeScrape();
      return exposition(await expose(pages.registry));
    },
    "/metrics/slis": ({ method }) => {
      if (method !== "DELETE") return exposition(slis.text());
      slis.reset();
      return bare("metrics reset\n");
    },
    "/healthz/ping": () => bare("ok"),
    "/proxyMode": () => plain(200, MODE),
    "/configz": () => json(200, pages.configz()),
    "/flagz": (request) => answerZPage(flagPage(pages.flags), accept(request)),
    "/statusz": (request) => answerZPage(statusPage(startedMs, pages.version, PATHS), accept(request)),
    ...(pages.profiling ? debugPages(pages) : {}),
  };
  return (request, path) => (Object.hasOwn(routes, path) ? routes[path]?.(request) : null) ?? notFound();
}

function debugPages({ setVerbosity }: MetricsPages): Record<string, Page> {
  return {
    "/debug/pprof/profile": (request) => profile("profile", queryOf(request)),
    "/debug/pprof/heap": (request) => profile("heap", queryOf(request)),
    "/debug/flags/v": async (request) => {
      if (request.method !== "PUT") return flagAnswer(406, "unsupported http method");
      const text = await bodyOf(request);
      const wrong = verbosityProblem(text);
      if (wrong !== null) return flagAnswer(400, wrong);
      setVerbosity(Number(text));
      return flagAnswer(200, `successfully set klog.logging.verbosity to ${text}`);
    },
  };
}

/** In Go's words; null: it is a number that logs can be set to. */
function verbosityProblem(text: string): string | null {
  const parsing = (what: string, problem: string) => `strconv.${what}: parsing ${JSON.stringify(text)}: ${problem}`;
  if (!/^\d+$/.test(text)) return parsing("ParseUint", "invalid syntax");
  if (Number(text) >= 2 ** 32) return parsing("ParseUint", "value out of range");
  if (Number(text) < 2 ** 31) return null;
  return `failed set klog.logging.verbosity ${text}: ${parsing("ParseInt", "value out of range")}`;
}

const flagAnswer = (status: number, text: string): Answer => ({
  status,
  headers: { "Content-Type": "text/plain", "X-Content-Type-Options": "nosniff" },
  body: `${text}\n`,
});

const exposition = (body: string): Answer => ({
  status: 200,
  headers: { "Content-Type": TEXT_FORMAT, "Process-Start-Time-Unix": String(Math.round(processStartSec)) },
  body,
  compressible: true,
});

const queryOf = ({ url = "" }: IncomingMessage): URLSearchParams => new URL(url, "http://node").searchParams;

/** All is read, so that the answer can be heard; what is too long for any number is cut. */
async function bodyOf(request: IncomingMessage): Promise<string> {
  let body = "";
  for await (const chunk of request as AsyncIterable<Buffer>)
    if (body.length < MOST_BODY_BYTES) body += chunk.toString().slice(0, MOST_BODY_BYTES - body.length);
  return body;
}
