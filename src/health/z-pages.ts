// SPDX-License-Identifier: Apache-2.0
// /statusz and /flagz: what runs here and how it was started, as text for people or as an object for whoever asks for
// exactly one of its versions.

import { yamlText } from "../config/kube-proxy/text.ts";
import type { Answer } from "./answer.ts";

export interface ZPage {
  /** "statusz". */
  readonly name: string;
  /** "Statusz". */
  readonly kind: string;
  /** After the heading. */
  readonly text: string;
  /** The object's members after its metadata. */
  readonly members: Readonly<Record<string, unknown>>;
}

const COMPONENT = "portolan";
const GROUP = "config.k8s.io";
const CAUTION =
  "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.";
const ACCEPTED = "only the following media types are accepted: application/json, application/yaml, text/plain";

/** An object in one of its forms; null: text. */
type Choice = { readonly version: "v1beta1" | "v1alpha1"; readonly form: "json" | "yaml" } | null;

export async function answerZPage(page: ZPage, accept: string | undefined): Promise<Answer> {
  const choice = choose(accept ?? "*/*", page.kind);
  if (choice === "none") return notAcceptable();
  if (choice === null) {
    const headers = { "Content-Type": "text/plain; charset=utf-8" };
    return { status: 200, headers, body: `\n${COMPONENT} ${page.name}\n${CAUTION}\n${page.text}` };
  }
  const { version, form } = choice;
  const object = {
    kind: page.kind,
    apiVersion: `${GROUP}/${version}`,
    metadata: { name: COMPONENT },
    ...page.members,
  };
  const headers: Record<string, string> = {
    "Content-Type": `application/${form};g=${GROUP};v=${version};as=${page.kind}`,
  };
  if (version === "v1alpha1") {
    headers["Warning"] = `299 - "This version of the ${page.name} endpoint is deprecated. Please use a newer version."`;
  }
  const body = form === "json" ? `${JSON.stringify(object)}\n` : await yamlText(object);
  return { status: 200, headers, body };
}

/** The first of the media ranges, in their order, that there is an answer for. */
function choose(accept: string, kind: string): Choice | "none" {
  for (const range of accept.split(",")) {
    const [type = "", ...parameters] = range.split(";").map((part) => part.trim());
    if (["*/*", "text/*", "text/plain"].includes(type)) return null;
    const form = /^application\/(json|yaml)$/.exec(type)?.[1] as "json" | "yaml" | undefined;
    const given = Object.fromEntries(parameters.map((parameter) => parameter.split("=", 2)));
    const { v: version, g: group, as } = given as Record<string, string | undefined>;
    if (form === undefined || group !== GROUP || as !== kind) continue;
    if (version === "v1beta1" || version === "v1alpha1") return { version, form };
  }
  return "none";
}

function notAcceptable(): Answer {
  const status = {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Failure",
    message: ACCEPTED,
    reason: "NotAcceptable",
    code: 406,
  };
  return { status: 406, headers: { "Content-Type": "application/json" }, body: `${JSON.stringify(status)}\n` };
}

/** The members and the text of /statusz. `paths`: what this server answers besides. */
export function statusPage(startedMs: number, version: string, paths: readonly string[]): ZPage {
  const started = new Date(startedMs);
  const up = Math.floor((Date.now() - startedMs) / 1_000);
  const two = (n: number): string => String(Math.floor(n)).padStart(2, "0");
  const lines = [
    "",
    `Started: ${started.toUTCString()}`,
    `Up: ${Math.floor(up / 3_600)} hr ${two((up / 60) % 60)} min ${two(up % 60)} sec`,
    `Node version: ${process.version}`,
    `Binary version: ${version}`,
    `Paths: ${paths.join(" ")}`,
  ];
  return {
    name: "statusz",
    kind: "Statusz",
    text: `${lines.join("\n")}\n`,
    members: {
      startTime: started.toISOString().replace(/\.\d+/, ""),
      uptimeSeconds: up,
      goVersion: `node ${process.version}`,
      binaryVersion: version,
      paths,
    },
  };
}

/** The members and the text of /flagz: the flags as they were given, or their defaults. */
export function flagPage(flags: Readonly<Record<string, string>>): ZPage {
  const sorted = Object.entries(flags).sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    name: "flagz",
    kind: "Flagz",
    text: sorted.map(([name, value]) => `${name}: ${value}\n`).join(""),
    members: { flags: Object.fromEntries(sorted) },
  };
}
