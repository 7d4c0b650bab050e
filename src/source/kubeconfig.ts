// SPDX-License-Identifier: Apache-2.0
// A kubeconfig file, or the pod's service account, as the one cluster and the one user that its current context names.
// client-node reads the entries; its KubeConfig class is left out, for it brings a second HTTP stack and every model of
// the API with it (20 MB of memory in a daemon that uses none of them).

import { readFileSync, statSync } from "node:fs";
import { isIPv6 } from "node:net";
import { dirname, resolve } from "node:path";
import {
  type Cluster,
  newClusters,
  newContexts,
  newUsers,
  type User,
} from "@kubernetes/client-node/dist/config_types.js";
import { SourceConfigError } from "./config-error.ts";
import { isObject, type JsonObject, member, objectMember } from "./decode/field.ts";

export interface Kubeconfig {
  /** URL without a slash at its end. */
  readonly server: string;
  readonly cluster: Cluster;
  readonly user: User;
  /** Read anew for every request; wins over `user.token`. */
  readonly tokenFile: string | null;
}

/** Where a pod finds its service account; a process that is no pod may name another folder. */
const accountDir = (env: NodeJS.ProcessEnv): string =>
  env["PORTOLAN_SERVICE_ACCOUNT"] || "/var/run/secrets/kubernetes.io/serviceaccount";

/** The file to use when none was named: $KUBECONFIG, or ~/.kube/config outside of a pod; null if there is neither. */
export function defaultKubeconfig(env: NodeJS.ProcessEnv): string | null {
  const listed = env["KUBECONFIG"]?.split(":").find((file) => file !== "");
  if (listed !== undefined) return listed;
  const home = homeKubeconfig(env);
  return !isPod(env) && exists(home) ? home : null;
}

const homeKubeconfig = (env: NodeJS.ProcessEnv): string => resolve(env["HOME"] ?? "/root", ".kube/config");

export const isPod = (env: NodeJS.ProcessEnv): boolean =>
  Boolean(env["KUBERNETES_SERVICE_HOST"]) && exists(`${accountDir(env)}/token`);

/** Where no kubeconfig says anything: the pod's service account, else a server that was named, without any login; else null. */
export function withoutKubeconfig(env: NodeJS.ProcessEnv, server: string | undefined): Kubeconfig | null {
  if (isPod(env)) return serviceAccount(env);
  if (server === undefined) return null;
  const cluster = { name: "named", server: checkedServer(server), skipTLSVerify: false };
  return { server: cluster.server, cluster, user: { name: "" }, tokenFile: null };
}

/** Why there is none. */
export const noKubeconfig = (env: NodeJS.ProcessEnv): string =>
  `no kubeconfig: none was given, KUBECONFIG is not set, this is no pod with a service account, ${homeKubeconfig(env)} does not exist`;

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** The pod's service account and the API server's Service address from the environment. */
function serviceAccount(env: NodeJS.ProcessEnv): Kubeconfig {
  const host = env["KUBERNETES_SERVICE_HOST"] ?? "";
  const port = env["KUBERNETES_SERVICE_PORT"] ?? "443";
  const server = checkedServer(`https://${isIPv6(host) ? `[${host}]` : host}:${port}`);
  const dir = accountDir(env);
  const cluster = { name: "in-cluster", server, caFile: `${dir}/ca.crt`, skipTLSVerify: false };
  return { server, cluster, user: { name: "in-cluster" }, tokenFile: `${dir}/token` };
}

/** Null if it chooses no context. Throws an Error whose message says what is wrong with the file, without naming it. */
export async function readKubeconfig(file: string): Promise<Kubeconfig | null> {
  const root = await parse(readFileSync(file, "utf8"));
  const directory = dirname(resolve(file));
  const name = member(root, "current-context");
  if (name === undefined || name === "") return null;
  const context = newContexts(member(root, "contexts")).find((entry) => entry.name === name);
  if (context === undefined) throw new Error(`current-context ${JSON.stringify(name)} is not one of its contexts`);
  const cluster = newClusters(member(root, "clusters")).find((entry) => entry.name === context.cluster);
  if (cluster === undefined)
    throw new Error(`context ${context.name} names cluster ${context.cluster}, which it does not hold`);
  const user = newUsers(member(root, "users")).find((entry) => entry.name === context.user) ?? { name: "" };
  if (cluster.caFile) cluster.caFile = resolve(directory, cluster.caFile);
  if (user.certFile) user.certFile = resolve(directory, user.certFile);
  if (user.keyFile) user.keyFile = resolve(directory, user.keyFile);
  const tokenFile = tokenFileOf(root, user);
  refuseUnsupported(cluster, user, tokenFile);
  return {
    server: checkedServer(cluster.server),
    cluster,
    user,
    tokenFile: tokenFile === null ? null : resolve(directory, tokenFile),
  };
}

/** YAML, which is slow to load, only if it is no JSON. */
async function parse(text: string): Promise<JsonObject> {
  let root: unknown;
  try {
    root = JSON.parse(text);
  } catch {
    const { LineCounter, parseDocument } = await import("yaml");
    const lineCounter = new LineCounter();
    // Without the excerpt of a "pretty" error: it would put secrets into the log.
    const document = parseDocument(text, { lineCounter, prettyErrors: false });
    const error = document.errors[0];
    if (error !== undefined) throw new Error(`line ${lineCounter.linePos(error.pos[0]).line}: ${error.message}`);
    root = document.toJS();
  }
  if (!isObject(root)) throw new Error("is not a kubeconfig");
  return root;
}

/** kubectl's `tokenFile` is unknown to client-node; kubeadm's kubeconfig for kube-proxy has it. */
function tokenFileOf(root: JsonObject, user: User): string | null {
  const users = member(root, "users");
  const entry = Array.isArray(users)
    ? users.find((one) => isObject(one) && member(one, "name") === user.name)
    : undefined;
  const file = isObject(entry) ? member(objectMember(entry, "user") ?? {}, "tokenFile") : undefined;
  const provided: unknown = user.authProvider?.config?.tokenFile;
  for (const path of [file, provided]) if (typeof path === "string" && path !== "") return path;
  return null;
}

function refuseUnsupported(cluster: Cluster, user: User, tokenFile: string | null): void {
  if (cluster.proxyUrl) throw new Error("proxy-url is not supported: name an address that can be reached directly");
  const provider: unknown = user.authProvider?.name;
  if (user.authProvider && tokenFile === null && !user.exec && !user.authProvider.config?.exec) {
    throw new Error(
      `auth-provider ${JSON.stringify(provider)} is not supported: use a token, a certificate or an exec plug-in`,
    );
  }
}

/** A server's URL without a slash at its end; throws SourceConfigError if it is none. */
export function checkedServer(server: string): string {
  const url = URL.canParse(server) ? new URL(server) : null;
  if (url !== null && /^https?:$/.test(url.protocol)) return server.replace(/\/+$/, "");
  throw new SourceConfigError(`API server ${JSON.stringify(server)} is not an http or https URL`);
}
