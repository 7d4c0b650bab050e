// SPDX-License-Identifier: Apache-2.0
// A real control plane for tests: etcd, kube-apiserver under RBAC and, if wanted, the kube-controller-manager that turns
// Pods into EndpointSlices. Dual stack, an account of the agent's own with deploy/rbac.yaml, an API server that can go away.

import { generateKeyPairSync, randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { command, Daemon, eventually, type Place } from "./daemon.ts";

export interface ControlPlaneOptions {
  /** A folder for data, keys, logs and kubeconfigs; made if it is not there. */
  readonly dir: string;
  /** Also run the EndpointSlice and Deployment controllers. Default: false. */
  readonly controllers?: boolean;
  /**
   * The address the API server listens on and, if it is no loopback address, announces as `default/kubernetes`.
   * Default: 127.0.0.1.
   */
  readonly address?: string;
  /** Where its processes, kubectl included, run: a node's namespace. Default: beside the test. */
  readonly place?: Place;
  /** Service ranges, one of each family; further ones are ServiceCIDR objects. Default: serviceRanges. */
  readonly serviceRanges?: readonly string[];
}

/** What a kubeconfig says of one user. */
export interface Kubeconfig {
  readonly server: string;
  /** PEM. */
  readonly ca: string;
  readonly token: string;
}

/** One request of the agent's account, from the API server's audit log. */
export interface AuditedRequest {
  /** "list", "watch", "get", … */
  readonly verb: string;
  /** Path and query as sent. */
  readonly uri: string;
  /** HTTP status. */
  readonly code: number;
  /** The User-Agent header: the same account's token may be used by kubectl. */
  readonly agent: string;
}

/** Of the Service ranges: the first address of each family is the `kubernetes` Service's. */
export const serviceRanges = ["10.96.0.0/16", "fd00:96::/112"] as const;

/** The account of deploy/rbac.yaml, as the API server names it. */
const agentUser = "system:serviceaccount:kube-system:portolan";

const buildScript = fileURLToPath(new URL("../kube/build.sh", import.meta.url));
const roles = fileURLToPath(new URL("../../deploy/rbac.yaml", import.meta.url));
const controllers = "endpointslice-controller,deployment-controller,replicaset-controller";

/** The folder of the real Kubernetes programs; builds those of `names` that are not there yet (minutes, once a machine). */
export async function kubeBinaries(names: readonly string[]): Promise<string> {
  const output = await command([buildScript, ...names], {}, "", 3_600_000);
  return output.trimEnd().split("\n").pop() ?? "";
}

/** Ports nobody listens on, outside the ephemeral range: a client that retries must not connect to itself. */
async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  for (let port = 20_000 + (randomBytes(2).readUInt16BE() % 9_000); ports.length < count; port++) {
    const free = await new Promise<boolean>((resolve) => {
      const server = createServer().once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
    });
    if (free) ports.push(port);
  }
  return ports;
}

function writeKubeconfig(file: string, user: Kubeconfig): void {
  const config = {
    apiVersion: "v1",
    kind: "Config",
    clusters: [
      {
        name: "test",
        cluster: { server: user.server, "certificate-authority-data": Buffer.from(user.ca).toString("base64") },
      },
    ],
    users: [{ name: "test", user: { token: user.token } }],
    contexts: [{ name: "test", context: { cluster: "test", user: "test" } }],
    "current-context": "test",
  };
  writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
}

const auditPolicy = {
  apiVersion: "audit.k8s.io/v1",
  kind: "Policy",
  omitStages: ["RequestReceived"],
  rules: [{ level: "Metadata", users: [agentUser] }, { level: "None" }],
};

export class ControlPlane {
  /** The API server's, https. */
  readonly server: string;
  readonly dir: string;
  /** Of a user who may do everything. */
  readonly adminKubeconfig: string;
  /** Of the account that deploy/rbac.yaml makes, with a token the API server issued for it. */
  readonly agentKubeconfig: string;
  readonly #place: Place;
  readonly #binaries: string;
  readonly #etcdUrl: string;
  readonly #apiServerArguments: readonly string[];
  readonly #daemons: Daemon[] = [];
  readonly #adminToken = randomBytes(16).toString("hex");
  #agentToken = "";
  #apiServer: Daemon | undefined;

  private constructor(options: ControlPlaneOptions, binaries: string, [etcd, peer, secure]: readonly number[]) {
    const address = options.address ?? "127.0.0.1";
    this.dir = options.dir;
    this.server = `https://${address}:${secure}`;
    this.adminKubeconfig = join(this.dir, "admin.kubeconfig");
    this.agentKubeconfig = join(this.dir, "agent.kubeconfig");
    this.#place = options.place ?? {};
    this.#binaries = binaries;
    const etcdUrl = `http://127.0.0.1:${etcd}`;
    this.#etcdUrl = etcdUrl;
    this.#apiServerArguments = [
      `--etcd-servers=${etcdUrl}`,
      `--service-cluster-ip-range=${(options.serviceRanges ?? serviceRanges).join(",")}`,
      `--secure-port=${secure}`,
      `--bind-address=${address}`,
      `--advertise-address=${address}`,
      // A loopback address may not stand in an EndpointSlice.
      `--endpoint-reconciler-type=${address.startsWith("127.") ? "none" : "lease"}`,
      `--cert-dir=${join(this.dir, "pki")}`,
      `--service-account-key-file=${join(this.dir, "sa.pub")}`,
      `--service-account-signing-key-file=${join(this.dir, "sa.key")}`,
      "--service-account-issuer=https://kubernetes.default.svc",
      `--token-auth-file=${join(this.dir, "tokens.csv")}`,
      "--authorization-mode=RBAC",
      `--audit-policy-file=${join(this.dir, "audit-policy.json")}`,
      `--audit-log-path=${join(this.dir, "audit.log")}`,
      // Pods of the tests have no account, and no controller makes one.
      "--disable-admission-plugins=ServiceAccount",
    ];
    this.#writeSecrets();
    writeFileSync(join(this.dir, "audit-policy.json"), JSON.stringify(auditPolicy));
    this.#start("etcd", [
      `--data-dir=${join(this.dir, "etcd")}`,
      `--listen-client-urls=${etcdUrl}`,
      `--advertise-client-urls=${etcdUrl}`,
      `--listen-peer-urls=http://127.0.0.1:${peer}`,
      "--unsafe-no-fsync",
      "--log-level=warn",
    ]);
  }

  /** Starts everything and returns when requests are answered and the agent's account exists; stops it all on failure. */
  static async start(options: ControlPlaneOptions): Promise<ControlPlane> {
    const names = ["etcd", "kube-apiserver", "kubectl", ...(options.controllers ? ["kube-controller-manager"] : [])];
    const binaries = await kubeBinaries(names);
    mkdirSync(options.dir, { recursive: true, mode: 0o700 });
    const plane = new ControlPlane(options, binaries, await freePorts(3));
    try {
      await plane.#etcdAnswers();
      await plane.startApiServer();
      await plane.#makeAgentAccount();
      if (options.controllers) plane.#startControllers();
      return plane;
    } catch (error) {
      await plane.stop();
      throw error;
    }
  }

  /** kubectl as admin; `input` is its standard input. Gives standard output, a failure is a CommandError. */
  kubectl(args: readonly string[], input = ""): Promise<string> {
    return command(this.kubectlCommand(args), this.#place, input);
  }

  /** kubectl as the agent's account. */
  kubectlAsAgent(args: readonly string[], input = ""): Promise<string> {
    return command(this.kubectlCommand(args, this.agentKubeconfig), this.#place, input);
  }

  /** The command itself, to be run elsewhere. */
  kubectlCommand(args: readonly string[], kubeconfig = this.adminKubeconfig): string[] {
    const flags = [`--kubeconfig=${kubeconfig}`, `--cache-dir=${join(this.dir, "kubectl")}`];
    return [join(this.#binaries, "kubectl"), ...flags, ...args];
  }

  /** Creates or changes objects, all in one call. */
  async apply(...objects: readonly object[]): Promise<void> {
    await this.kubectl(["apply", "-f", "-"], JSON.stringify({ apiVersion: "v1", kind: "List", items: objects }));
  }

  /** Merges `status` into an object's status, as `kubectl patch` names the object: `["pod", "a"]`. */
  async patchStatus(object: readonly string[], status: object): Promise<void> {
    await this.kubectl(["patch", ...object, "--subresource=status", "--type=merge", "-p", JSON.stringify({ status })]);
  }

  /** How the admin reaches the API server, for a client of one's own. */
  get admin(): Kubeconfig {
    return { server: this.server, ca: this.#authority(), token: this.#adminToken };
  }

  /** Every request the agent's account has made so far. */
  agentRequests(): AuditedRequest[] {
    interface Event {
      readonly auditID: string;
      readonly verb: string;
      readonly requestURI: string;
      readonly userAgent?: string;
      readonly responseStatus?: { readonly code: number };
    }
    const events = readFileSync(join(this.dir, "audit.log"), "utf8").split("\n").slice(0, -1);
    const requests = new Map<string, AuditedRequest>();
    for (const event of events.map((line) => JSON.parse(line) as Event)) {
      const { verb, requestURI: uri, responseStatus, userAgent: agent = "" } = event;
      requests.set(event.auditID, { verb, uri, code: responseStatus?.code ?? 0, agent });
    }
    return [...requests.values()];
  }

  /** The API server, on the same port and data as before; returns when it is ready. */
  async startApiServer(): Promise<void> {
    const apiServer = this.#start("kube-apiserver", this.#apiServerArguments);
    this.#apiServer = apiServer;
    await apiServer.until("ready", () => this.#ready(), 180_000);
  }

  /** Takes the API server away: SIGKILL resets its connections, SIGTERM ends them as an upgrade does (up to 15 s). */
  async stopApiServer(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    await this.#apiServer?.stop(signal, 15_000);
  }

  /** Ends every process and waits for it; the data is worth nothing any more, so at once. */
  async stop(): Promise<void> {
    await Promise.all(this.#daemons.map((daemon) => daemon.stop("SIGKILL")));
    rmSync(join(this.dir, "etcd"), { recursive: true, force: true });
  }

  #start(name: string, args: readonly string[]): Daemon {
    const daemon = new Daemon([join(this.#binaries, name), ...args], join(this.dir, `${name}.log`), this.#place);
    this.#daemons.push(daemon);
    return daemon;
  }

  #startControllers(): void {
    this.#start("kube-controller-manager", [
      `--kubeconfig=${this.adminKubeconfig}`,
      `--controllers=${controllers}`,
      "--leader-elect=false",
      "--secure-port=0",
    ]);
  }

  /** An API server that finds none ends after a while. */
  async #etcdAnswers(): Promise<void> {
    const ask = ["curl", "-sf", "--max-time", "10", `${this.#etcdUrl}/health`];
    await eventually("etcd answers", async () => (await command(ask, this.#place)).includes('"true"') || undefined, {
      withinMs: 180_000,
    });
  }

  async #ready(): Promise<true | undefined> {
    writeKubeconfig(this.adminKubeconfig, this.admin);
    return (await this.kubectl(["get", "--raw", "/readyz"])) === "ok" ? true : undefined;
  }

  #writeSecrets(): void {
    const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    const secret = { mode: 0o600 };
    writeFileSync(join(this.dir, "sa.pub"), publicKey.export({ type: "spki", format: "pem" }));
    writeFileSync(join(this.dir, "sa.key"), privateKey.export({ type: "pkcs8", format: "pem" }), secret);
    writeFileSync(join(this.dir, "tokens.csv"), `${this.#adminToken},admin,1,system:masters\n`, secret);
  }

  async #makeAgentAccount(): Promise<void> {
    // Namespaces come a moment after readiness.
    await eventually("the namespace kube-system", async () => {
      await this.kubectl(["get", "namespaces", "kube-system", "default"]);
      return true;
    });
    await this.kubectl(["apply", "-f", roles]);
    const token = await this.kubectl(["create", "token", "portolan", "--namespace=kube-system", "--duration=24h"]);
    this.#agentToken = token.trim();
    this.writeAgentKubeconfig(this.agentKubeconfig, this.server);
    // A role counts a moment after it was made.
    const allowed = ["get", "--raw", "/apis/networking.k8s.io/v1/servicecidrs?limit=1"];
    await eventually("the account's role", async () => {
      await this.kubectlAsAgent(allowed);
      return true;
    });
  }

  /** A kubeconfig of the agent's account that reaches the API server at another of its addresses. */
  writeAgentKubeconfig(file: string, server: string): void {
    writeKubeconfig(file, { server, ca: this.#authority(), token: this.#agentToken });
  }

  /** The API server makes its own serving certificate on its first start; it is its own authority. */
  #authority(): string {
    return readFileSync(join(this.dir, "pki", "apiserver.crt"), "utf8");
  }
}
