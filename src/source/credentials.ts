// SPDX-License-Identifier: Apache-2.0
// How to log in at the API server: certificates, tokens and plug-ins of a kubeconfig, read again whenever the files
// change, so that a rotation is in effect with the next request.

import { readFileSync, statSync } from "node:fs";
import { reasonOf, SourceConfigError } from "./config-error.ts";
import { ExecPlugIn, type LoginOptions } from "./exec-plug-in.ts";
import {
  defaultKubeconfig,
  isPod,
  type Kubeconfig,
  noKubeconfig,
  readKubeconfig,
  withoutKubeconfig,
} from "./kubeconfig.ts";

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
  readonly ca?: Buffer;
  readonly cert?: Buffer | string;
  readonly key?: Buffer | string;
  readonly rejectUnauthorized: boolean;
}

type Draft = Pick<Login, "headers" | "tls">;

export class Credentials {
  /** URL without a slash at its end. */
  readonly server: string;
  /** The server is a Service's address that the cluster gave to this pod. */
  readonly inCluster: boolean;
  readonly #file: string | null;
  #config: Kubeconfig;
  #signature: string;
  readonly #exec = new ExecPlugIn();
  #login: Login | null = null;
  #mark = "";

  private constructor(file: string | null, config: Kubeconfig, signature: string) {
    this.#file = file;
    this.#config = config;
    this.#signature = signature;
    this.server = config.server;
    this.inCluster = file === null && config.tokenFile !== null;
  }

  /**
   * `kubeconfig` null: $KUBECONFIG, else the pod's service account, else ~/.kube/config, else the first of `servers`
   * without any login; so it is with a kubeconfig that chooses no context. Throws SourceConfigError naming the file and
   * the reason if there is none of all, or if it or a file it names cannot be used.
   */
  static async load(
    kubeconfig: string | null,
    { env = process.env, servers = [] }: { env?: NodeJS.ProcessEnv; servers?: readonly string[] } = {},
  ): Promise<Credentials> {
    const file = kubeconfig ?? defaultKubeconfig(env);
    let origin = file === null ? "" : `kubeconfig ${file}: `;
    try {
      // The signature before the content: a change in between is then seen at the next look.
      const signature = file === null ? "" : signatureOf(file);
      const read = file === null ? null : await readKubeconfig(file);
      if (read === null && isPod(env)) origin = "service account: ";
      const config = read ?? withoutKubeconfig(env, servers[0]);
      if (config === null) throw new Error(file === null ? noKubeconfig(env) : "chooses no context (current-context)");
      const credentials = new Credentials(read === null ? null : file, config, signature);
      credentials.#files();
      return credentials;
    } catch (error) {
      const path = (error as NodeJS.ErrnoException).path;
      const named = path === undefined || path === file ? "" : `${path} `;
      throw new SourceConfigError(`${origin}${named}${reasonOf(error)}`);
    }
  }

  /** True if answers can be trusted to come from the cluster, so that addresses learned from it may be used. */
  get verified(): boolean {
    return this.server.startsWith("https:") && !this.#config.cluster.skipTLSVerify;
  }

  /** The login as the files have it now; as they had it last if they are being replaced this instant. */
  async current(): Promise<Login> {
    await this.#reload();
    try {
      const draft = this.#files();
      const { user } = this.#config;
      return this.#remember(user.exec || user.authProvider?.config?.exec ? await this.#plugIn(draft) : draft);
    } catch (error) {
      if (this.#login !== null) return this.#login;
      throw error;
    }
  }

  /** The server did not accept the login: nothing cached of it is used again. */
  invalidate(): void {
    this.#exec.forget();
  }

  async #reload(): Promise<void> {
    if (this.#file === null) return;
    const signature = signatureOf(this.#file);
    if (signature === this.#signature) return;
    try {
      this.#config = (await readKubeconfig(this.#file)) ?? this.#config;
      this.#signature = signature;
      this.#exec.forget();
    } catch {
      // Half written or away: what was read last stays, and the next request looks again.
    }
  }

  #files(): Draft {
    const { cluster, user } = this.#config;
    const ca = read(cluster.caFile, cluster.caData);
    const cert = read(user.certFile, user.certData);
    const key = read(user.keyFile, user.keyData);
    const tls = {
      ...(ca === null ? {} : { ca }),
      ...(cert === null ? {} : { cert }),
      ...(key === null ? {} : { key }),
      rejectUnauthorized: !cluster.skipTLSVerify,
    };
    return { headers: this.#headers(), tls };
  }

  #headers(): Record<string, string> {
    const { user, tokenFile } = this.#config;
    const token = tokenFile === null ? user.token : readNamed(tokenFile).toString("utf8");
    const headers: Record<string, string> = {};
    if (token) headers["Authorization"] = `Bearer ${token.trim()}`;
    else if (user.username) {
      headers["Authorization"] = `Basic ${Buffer.from(`${user.username}:${user.password ?? ""}`).toString("base64")}`;
    }
    if (user.impersonateUser) headers["Impersonate-User"] = user.impersonateUser;
    return headers;
  }

  async #plugIn({ headers, tls }: Draft): Promise<Draft> {
    const options: LoginOptions = { headers: { ...headers } };
    await this.#exec.apply(this.#config.user, options);
    const { cert, key } = options as { cert?: string; key?: string };
    return { headers: options.headers, tls: { ...tls, ...(cert && key ? { cert, key } : {}) } };
  }

  #remember({ headers, tls }: Draft): Login {
    const serverName = this.#config.cluster.tlsServerName ?? null;
    const mark = [serverName, tls.ca, tls.cert, tls.key, tls.rejectUnauthorized].map(String).join("\n");
    const version = (this.#login?.version ?? 0) + (mark === this.#mark ? 0 : 1);
    this.#mark = mark;
    this.#login = { headers, tls, serverName, version };
    return this.#login;
  }
}

function read(file: string | undefined, data: string | undefined): Buffer | null {
  if (file) return readNamed(file);
  return data ? Buffer.from(data, "base64") : null;
}

/** A directory's EISDIR comes without the path. */
function readNamed(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw Object.assign(error as NodeJS.ErrnoException, { path });
  }
}

/** Replaced and rewritten files differ in this; "" if there is none. */
function signatureOf(file: string): string {
  const stat = statSync(file, { throwIfNoEntry: false, bigint: true });
  return stat === undefined ? "" : `${stat.dev}:${stat.ino}:${stat.size}:${stat.mtimeNs}`;
}
