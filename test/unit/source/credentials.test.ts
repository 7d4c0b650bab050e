// SPDX-License-Identifier: Apache-2.0
// Logins: which files and plug-ins give them, what is said of broken ones, and that a rotation is in effect at once.

import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { SourceConfigError } from "../../../src/source/config-error.ts";
import { Credentials } from "../../../src/source/credentials.ts";
import { kubeconfig } from "./objects.ts";

const SERVER = "https://127.0.0.1:6443";
let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), `portolan-credentials-${process.pid}-`));
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

function write(name: string, text: string): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
}

async function headerOf(user: Record<string, unknown>): Promise<string | undefined> {
  const credentials = await Credentials.load(kubeconfig(directory, SERVER, { user }));
  return (await credentials.current()).headers["Authorization"];
}

test("a token, a password, nothing", async () => {
  expect(await headerOf({ token: "abc" })).toBe("Bearer abc");
  expect(await headerOf({ username: "u", password: "p" })).toBe(`Basic ${Buffer.from("u:p").toString("base64")}`);
  expect(await headerOf({})).toBeUndefined();
});

test("tokenFile, as kubeadm writes it for kube-proxy, relative or absolute, in YAML; a new token counts at once", async () => {
  write("token", "first\n");
  const file = write(
    "config.yaml",
    `apiVersion: v1
kind: Config
clusters: [{ name: default, cluster: { server: "${SERVER}/", certificate-authority: ca.crt } }]
contexts: [{ name: default, context: { cluster: default, user: default } }]
current-context: default
users:
- name: default
  user: { tokenFile: token }
`,
  );
  write("ca.crt", "CA one");
  const credentials = await Credentials.load(file);
  expect(credentials).toMatchObject({ server: SERVER, inCluster: false, verified: true });
  const before = await credentials.current();
  expect(before.headers["Authorization"]).toBe("Bearer first");
  expect(String(before.tls.ca)).toBe("CA one");
  write("token", "second");
  const after = await credentials.current();
  expect(after.headers["Authorization"]).toBe("Bearer second");
  expect(after.version).toBe(before.version);
  write("ca.crt", "CA two");
  expect((await credentials.current()).version).toBe(before.version + 1);
});

test("files away for a moment: the last login stays in use", async () => {
  const token = write("token", "first");
  const path = kubeconfig(directory, SERVER, { user: { tokenFile: "token" } });
  const credentials = await Credentials.load(path);
  await credentials.current();
  rmSync(token);
  expect((await credentials.current()).headers["Authorization"]).toBe("Bearer first");
  writeFileSync(path, "{ half of");
  expect((await credentials.current()).headers["Authorization"]).toBe("Bearer first");
  kubeconfig(directory, SERVER, { user: { token: "third" } });
  expect((await credentials.current()).headers["Authorization"]).toBe("Bearer third");
});

test("an exec plug-in is run once until its token expires or is refused", async () => {
  const count = join(directory, "count");
  const script = `echo x >> ${count}; echo '{"status":{"token":"t'$(wc -l < ${count})'"}}'`;
  const credentials = await Credentials.load(
    kubeconfig(directory, SERVER, { user: { exec: { command: "/bin/sh", args: ["-c", script] } } }),
  );
  const first = await credentials.current();
  expect(first.headers["Authorization"]).toBe("Bearer t1");
  expect(await credentials.current()).toMatchObject({
    headers: { Authorization: "Bearer t1" },
    version: first.version,
  });
  credentials.invalidate();
  expect((await credentials.current()).headers["Authorization"]).toBe("Bearer t2");
});

test("no pod, no kubeconfig: said with every place that was looked at", async () => {
  const env = { KUBERNETES_SERVICE_HOST: "fd00:96::1", KUBERNETES_SERVICE_PORT: "443", HOME: directory };
  await expect(Credentials.load(null, { env })).rejects.toThrow(/no kubeconfig: .*\.kube\/config does not exist/);
  mkdirSync(join(directory, ".kube"));
  const path = kubeconfig(directory, SERVER);
  expect((await Credentials.load(null, { env: { KUBECONFIG: `:${path}` } })).server).toBe(SERVER);
});

test("a server that was named, and no kubeconfig: asked without a login, and trusted as the system trusts it", async () => {
  const env = { HOME: directory };
  const credentials = await Credentials.load(null, { env, servers: ["http://127.0.0.1:8080"] });
  expect(credentials).toMatchObject({ server: "http://127.0.0.1:8080", inCluster: false, verified: false });
  expect(await credentials.current()).toMatchObject({ headers: {}, tls: { rejectUnauthorized: true } });
  await expect(Credentials.load(null, { env, servers: ["nonsense"] })).rejects.toThrow(/"nonsense" is not an http/);
});

test("a kubeconfig that chooses no context says nothing: the service account counts, else a named server", async () => {
  const path = write("empty", "apiVersion: v1\nkind: Config\n");
  await expect(Credentials.load(path, { env: {} })).rejects.toThrow(`kubeconfig ${path}: chooses no context`);
  const named = await Credentials.load(path, { env: {}, servers: ["https://10.0.0.1:6443"] });
  expect(named).toMatchObject({ server: "https://10.0.0.1:6443", inCluster: false });
  for (const file of ["token", "ca.crt"]) write(file, file);
  const env = { KUBERNETES_SERVICE_HOST: "10.96.0.1", PORTOLAN_SERVICE_ACCOUNT: directory };
  expect(await Credentials.load(path, { env })).toMatchObject({ server: "https://10.96.0.1:443", inCluster: true });
});

test("a pod's service account: the token and CA that a swapped link leads to now", async () => {
  const project = (name: string): void => {
    mkdirSync(join(directory, name));
    write(`${name}/token`, `token ${name}`);
    write(`${name}/ca.crt`, `CA ${name}`);
    symlinkSync(name, join(directory, "..data.new"));
    renameSync(join(directory, "..data.new"), join(directory, "..data"));
  };
  project("one");
  for (const file of ["token", "ca.crt"]) symlinkSync(join("..data", file), join(directory, file));
  const credentials = await Credentials.load(null, {
    env: { KUBERNETES_SERVICE_HOST: "fd00:96::1", KUBERNETES_SERVICE_PORT: "443", PORTOLAN_SERVICE_ACCOUNT: directory },
  });
  expect(credentials).toMatchObject({ server: "https://[fd00:96::1]:443", inCluster: true, verified: true });
  const before = await credentials.current();
  expect([before.headers["Authorization"], String(before.tls.ca)]).toEqual(["Bearer token one", "CA one"]);
  project("two");
  rmSync(join(directory, "one"), { recursive: true });
  const after = await credentials.current();
  expect([after.headers["Authorization"], String(after.tls.ca)]).toEqual(["Bearer token two", "CA two"]);
  expect(after.version).toBe(before.version + 1);
});

test.each<[string, () => string, RegExp]>([
  ["no such file", () => "/nonexistent/config", /^kubeconfig \/nonexistent\/config: does not exist$/],
  ["a folder", () => directory, /is a directory/],
  ["no YAML", () => write("k", "token: secret\na: [b"), /^kubeconfig \S*k: line 2: [^\n]*\]$/],
  [
    "a directory for a file",
    () => kubeconfig(directory, SERVER, { cluster: { "certificate-authority": "." } }),
    /^kubeconfig \S+: \S+ is a directory$/,
  ],
  ["no object", () => write("k", "just text"), /is not a kubeconfig/],
  ["no context", () => write("k", "{}"), /chooses no context/],
  ["no server", () => kubeconfig(directory, ""), /clusters\[0\]\.cluster\.server is missing/],
  ["no URL", () => kubeconfig(directory, "10.0.0.1:6443"), /API server "10.0.0.1:6443" is not an http or https URL/],
  [
    "no CA file",
    () => kubeconfig(directory, SERVER, { cluster: { "certificate-authority": "no.crt" } }),
    /no\.crt does not exist/,
  ],
  ["no token file", () => kubeconfig(directory, SERVER, { user: { tokenFile: "no" } }), /\/no does not exist/],
  [
    "a proxy",
    () => kubeconfig(directory, SERVER, { cluster: { "proxy-url": "http://p" } }),
    /proxy-url is not supported/,
  ],
  [
    "oidc",
    () => kubeconfig(directory, SERVER, { user: { "auth-provider": { name: "oidc" } } }),
    /"oidc" is not supported/,
  ],
])("%s is refused by name and reason", async (_, file, message) => {
  const path = file();
  const error = await Credentials.load(path).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(SourceConfigError);
  expect((error as Error).message).toMatch(message);
  expect((error as Error).message).toContain(path);
});
