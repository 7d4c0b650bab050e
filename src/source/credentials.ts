// SPDX-License-Identifier: Apache-2.0
// Where the API server is and how to log in there: a kubeconfig file or the pod's service account, read again whenever
// the files change. client-node knows the kinds of credentials (certificates, tokens, exec plug-ins, OIDC).

import { readFileSync, statSync } from "node:fs";
import type { RequestOptions } from "node:https";
import { dirname, resolve } from "node:path";
import { type Cluster, KubeConfig, type User } from "@kubernetes/client-node";
import { reasonOf, SourceConfigError } from "./config-error.ts";
import { isObject, member } from "./decode-field.ts";

/** What one request needs to log in. */
export interface Login {
  readonly headers: Readonly<Record<string, string>>;
  readonly tls: Tls;
  /** The name in the server's certificate, when the configuration gives one. */
  readonly serverName: string | null;
  /** Another number when `tls` or `serverName` is another. */
  readonly version: number;
}

export interface Tls {
  readonly ca?: Buffer | string;
  readonly cert?: Buffer | string;
  readonly key?: Buffer | string;
  readonly rejectUnauthorized?: boolean;
}

const ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";

export class Credentials {
  /** URL without a slash at its end. */
  readonly server: string;
  /** The server is a Service address that the API server gave to this pod. */
  readonly inCluster: boolean;
  readonly #file: string | null;
  #config: KubeConfig;
  #tokenFile: string | null;
  #signature: string;
  #login: Login | null = null;
  #mark = "";

  private constructor(file: string | null, loaded: Loaded) {
    this.#file = file;
    this.#config = loaded.config;
    this.#tokenFile = loaded.tokenFile;
    this.#signature = loaded.signature;
    this.server = serverOf(loaded.config, file ?? "in-cluster credentials");
    this.inCluster = file === null;
  }

  /**
   * `kubeconfig` null: $KUBECONFIG, else the pod's service account, else ~/.kube/config. Throws SourceConfigError
   * naming the file and the reason if there is none, or if it or a file it names cannot be used.
   */
  static async load(kubeconfig: string | null, env: NodeJS.ProcessEnv = process.env): Promise<Credentials> {
    const file = kubeconfig ?? defaultKubeconfig(env);
    try {
      const credentials = new Credentials(file, file === null ? loadInCluster() : await loadFile(file));
      await credentials.#read();
      return credentials;
    } catch (error) {
      if (error instanceof SourceConfigError) throw error;
      throw new SourceConfigError(
        `${file === null ? "in-cluster credentials" : `kubeconfig ${file}`}: ${reasonOf(error)}`,
      );
    }
  }

  /** True if answers can be trusted to come from the cluster, so that addresses learned from it may be used. */
  get verified(): boolean {
    return this.server.startsWith("https:") && this.#config.getCurrentCluster()?.skipTLSVerify !== true;
  }

  /** The login as the files have it now; as they had it last if they are being replaced this instant. */
  async current(): Promise<Login> {
    await this.#reload();
    try {
      return await this.#read();
    } catch (error) {
      if (this.#login !== null) return this.#login;
      throw error;
    }
  }

  /** The server did not accept the login: nothing cached of it is used again. */
  invalidate(): void {
    this.#signature = "";
  }

  async #reload(): Promise<void> {
    if (this.#file === null || signatureOf(this.#file) === this.#signature) return;
    try {
      const loaded = await loadFile(this.#file);
      this.#config = loaded.config;
      this.#tokenFile = loaded.tokenFile;
      this.#signature = loaded.signature;
    } catch {
      // Half written or away: what was read last stays, and the next request looks again.
    }
  }

  async #read(): Promise<Login> {
    const user = this.#config.getCurrentUser() as Mutable<User> | null;
    if (user !== null && this.#tokenFile !== null) user.token = readFileSync(this.#tokenFile, "utf8").trim();
    const options: RequestOptions = {};
    await this.#config.applyToHTTPSOptions(options);
    const headers: Record<string, string> = {};
    for (const [name, value] of Object.entries(options.headers ?? {})) headers[name] = String(value);
    if (user?.username)
      headers["Authorization"] = `Basic ${Buffer.from(`${user.username}:${user.password}`).toString("base64")}`;
    const tls = tlsOf(options);
    const serverName = this.#config.getCurrentCluster()?.tlsServerName ?? null;
    const mark = fingerprint(tls, serverName);
    const version = (this.#login?.version ?? 0) + (mark === this.#mark ? 0 : 1);
    this.#mark = mark;
    this.#login = { headers, tls, serverName, version };
    return this.#login;
  }
}

interface Loaded {
  readonly config: KubeConfig;
  readonly tokenFile: string | null;
  readonly signature: string;
}

/** null: the pod's service account. */
function defaultKubeconfig(env: NodeJS.ProcessEnv): string | null {
  const listed = env["KUBECONFIG"]?.split(":").find((file) => file !== "");
  if (listed !== undefined) return listed;
  if (env["KUBERNETES_SERVICE_HOST"] && exists(`${ACCOUNT}/token`)) return null;
  const home = resolve(env["HOME"] ?? "/root", ".kube/config");
  if (exists(home)) return home;
  throw new SourceConfigError(
    `no kubeconfig: none was given, KUBECONFIG is not set, this is no pod with a service account, ${home} does not exist`,
  );
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

function loadInCluster(): Loaded {
  const config = new KubeConfig();
  config.loadFromCluster();
  return { config: prepared(config), tokenFile: `${ACCOUNT}/token`, signature: "" };
}

async function loadFile(file: string): Promise<Loaded> {
  // Before the content: a change in between is then seen at the next look.
  const signature = signatureOf(file);
  const text = readFileSync(file, "utf8");
  const config = new KubeConfig();
  config.loadFromString(text);
  config.makePathsAbsolute(dirname(resolve(file)));
  if (config.getCurrentCluster() === null) {
    throw new Error(`its current context ${JSON.stringify(config.currentContext ?? "")} names no cluster in it`);
  }
  const named = text.includes("tokenFile") ? await tokenFileOf(text, config.getCurrentUser()) : null;
  return {
    config: prepared(config),
    tokenFile: named === null ? null : resolve(dirname(resolve(file)), named),
    signature,
  };
}

/** client-node knows kubectl's `tokenFile` under another name only, and kubeadm's kube-proxy kubeconfig uses it. */
async function tokenFileOf(text: string, current: User | null): Promise<string | null> {
  const provided: unknown = current?.authProvider?.config?.tokenFile;
  if (typeof provided === "string") return provided;
  const { parse } = await import("yaml");
  const root: unknown = parse(text);
  const users = isObject(root) ? member(root, "users") : [];
  for (const entry of Array.isArray(users) ? users : []) {
    if (!isObject(entry) || member(entry, "name") !== current?.name) continue;
    const user = member(entry, "user");
    const file = isObject(user) ? member(user, "tokenFile") : null;
    if (typeof file === "string" && file !== "") return file;
  }
  return null;
}

/** client-node would keep a token file's content for a minute, and would refuse plain http. */
function prepared(config: KubeConfig): KubeConfig {
  const cluster = config.getCurrentCluster() as Mutable<Cluster> | null;
  if (cluster?.proxyUrl) throw new Error("proxy-url is not supported; name an address that can be reached directly");
  if (cluster?.server.startsWith("http:")) cluster.skipTLSVerify = true;
  const user = config.getCurrentUser() as Mutable<User> | null;
  if (user?.authProvider?.config?.tokenFile) delete user.authProvider;
  return config;
}

type Mutable<T> = { -readonly [Member in keyof T]: T[Member] };

function serverOf(config: KubeConfig, origin: string): string {
  const server = config.getCurrentCluster()?.server ?? "";
  if (URL.canParse(server) && /^https?:$/.test(new URL(server).protocol)) return server.replace(/\/+$/, "");
  throw new SourceConfigError(`${origin}: server ${JSON.stringify(server)} is not an http or https URL`);
}

function tlsOf(options: RequestOptions): Tls {
  const { ca, cert, key, rejectUnauthorized } = options as Tls;
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(rejectUnauthorized === undefined ? {} : { rejectUnauthorized }),
  };
}

function fingerprint(tls: Tls, serverName: string | null): string {
  return JSON.stringify([serverName, String(tls.ca), String(tls.cert), String(tls.key), tls.rejectUnauthorized]);
}

function signatureOf(file: string): string {
  const stat = statSync(file, { throwIfNoEntry: false, bigint: true });
  return stat === undefined ? "" : `${stat.dev}:${stat.ino}:${stat.size}:${stat.mtimeNs}`;
}
