// SPDX-License-Identifier: Apache-2.0
// Certificate authorities and server certificates for tests, by openssl, in a folder of the test's own.

import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

/** What a TLS server is started with. */
export interface ServerTls {
  readonly key: string;
  readonly cert: string;
}

export class CertificateAuthority {
  readonly #dir: string;

  /** `dir` is made, and holds the keys. */
  constructor(dir: string) {
    this.#dir = dir;
    mkdirSync(dir, { recursive: true });
    this.#openssl("req", "-x509", ...NEW_KEY, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca", "-days", "2");
  }

  /** PEM. */
  get certificate(): string {
    return readFileSync(join(this.#dir, "ca.crt"), "utf8");
  }

  /** A certificate for these names: "IP:127.0.0.1", "DNS:api.cluster.test". */
  issue(names: string): ServerTls {
    this.#openssl("req", "-new", ...NEW_KEY, "-keyout", "leaf.key", "-out", "leaf.csr", "-subj", "/CN=leaf");
    writeFileSync(join(this.#dir, "leaf.ext"), `subjectAltName=${names}`);
    const by = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"];
    this.#openssl("x509", "-req", "-in", "leaf.csr", ...by, "-out", "leaf.crt", "-extfile", "leaf.ext");
    const read = (file: string) => readFileSync(join(this.#dir, file), "utf8");
    return { key: read("leaf.key"), cert: read("leaf.crt") };
  }

  #openssl(...args: string[]): void {
    execFileSync("openssl", args, { cwd: this.#dir, stdio: "ignore" });
  }
}
