// SPDX-License-Identifier: Apache-2.0
// The pages of the metrics server that hold something of their own: /statusz and /flagz in their forms, /metrics/slis.

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { Slis } from "../../../src/health/slis.ts";
import { answerZPage, flagPage, statusPage } from "../../../src/health/z-pages.ts";

const flags = flagPage({ v: "2", config: "/etc/config", "bind-address": "0.0.0.0" });
const status = statusPage(Date.UTC(2026, 6, 1, 12), "1.2.3", ["/healthz", "/metrics"]);

test.for([undefined, "*/*", "text/plain", "text/*", "application/json, text/plain"])(
  "text for Accept %s",
  async (accept) => {
    const { status: code, headers, body } = await answerZPage(flags, accept);
    expect([code, headers]).toEqual([200, { "Content-Type": "text/plain; charset=utf-8" }]);
    expect(body).toMatch(/^\nportolan flagz\nWarning: This endpoint is not meant to be machine parseable/);
    expect(body.split("\n").slice(3)).toEqual(["bind-address: 0.0.0.0", "config: /etc/config", "v: 2", ""]);
  },
);

test("an object for who asks for exactly that version", async () => {
  const type = (form: string, version: string) => `application/${form};g=config.k8s.io;v=${version};as=Flagz`;
  const json = await answerZPage(flags, "application/json;v=v1beta1;g=config.k8s.io;as=Flagz");
  expect(json.headers).toEqual({ "Content-Type": type("json", "v1beta1") });
  expect(json.body).toBe(
    '{"kind":"Flagz","apiVersion":"config.k8s.io/v1beta1","metadata":{"name":"portolan"},"flags":{"bind-address":"0.0.0.0","config":"/etc/config","v":"2"}}\n',
  );
  const yaml = await answerZPage(flags, type("yaml", "v1beta1"));
  expect(yaml.headers).toEqual({ "Content-Type": type("yaml", "v1beta1") });
  expect(yaml.body).toBe(
    'apiVersion: config.k8s.io/v1beta1\nflags:\n  bind-address: 0.0.0.0\n  config: /etc/config\n  v: "2"\nkind: Flagz\nmetadata:\n  name: portolan\n',
  );
});

test("the older version comes with a warning", async () => {
  const {
    status: code,
    headers,
    body,
  } = await answerZPage(status, "application/json;v=v1alpha1;g=config.k8s.io;as=Statusz");
  expect(code).toBe(200);
  expect(headers["Warning"]).toBe(
    '299 - "This version of the statusz endpoint is deprecated. Please use a newer version."',
  );
  expect(JSON.parse(body)).toMatchObject({
    kind: "Statusz",
    apiVersion: "config.k8s.io/v1alpha1",
    startTime: "2026-07-01T12:00:00Z",
    binaryVersion: "1.2.3",
    paths: ["/healthz", "/metrics"],
  });
});

test.for([
  "application/json",
  "application/json;v=v1;g=config.k8s.io;as=Statusz",
  "application/json;v=v1beta1;g=config.k8s.io;as=Flagz",
  "application/cbor;v=v1beta1;g=config.k8s.io;as=Statusz",
  "text/html",
])("nothing for Accept %s", async (accept) => {
  const { status: code, headers, body } = await answerZPage(status, accept);
  expect([code, headers]).toEqual([406, { "Content-Type": "application/json" }]);
  expect(JSON.parse(body)).toMatchObject({ kind: "Status", status: "Failure", reason: "NotAcceptable", code: 406 });
});

test("slis: the start time alone, then the checks too; nothing after a reset, then the checks", () => {
  const names = (slis: Slis) => [...slis.text().matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name);
  const slis = new Slis();
  expect(names(slis)).toEqual(["process_start_time_seconds"]);
  slis.checked();
  slis.checked();
  expect(slis.text()).toContain('kubernetes_healthchecks_total{name="ping",status="success",type="healthz"} 2\n');
  expect(slis.text()).toContain('kubernetes_healthcheck{name="ping",type="healthz"} 1\n');
  expect(names(slis)).toEqual([
    "kubernetes_healthcheck",
    "kubernetes_healthchecks_total",
    "process_start_time_seconds",
  ]);
  slis.reset();
  expect(slis.text()).toBe("");
  slis.checked();
  expect(names(slis)).toEqual(["kubernetes_healthcheck", "kubernetes_healthchecks_total"]);
});

test.for(["profile", "heap"])("a %s that is being taken does not keep a process that is done", async (kind) => {
  const module = new URL("../../../src/health/profiles.ts", import.meta.url);
  const script = `const { profile } = await import("${module}");
    void profile("${kind}", new URLSearchParams("seconds=300"));`;
  await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script], { timeout: 200_000 });
});
