// SPDX-License-Identifier: Apache-2.0
// The near end of api-process.ts: what a scenario's steps say, said to the agent of a world.

import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { LineProcess } from "../../support/line-process.ts";
import type { Manifest, ObjectReference } from "../../support/scenario.ts";
import type { World } from "../../support/world.ts";

export interface LiveApiRequest {
  readonly remove: readonly ObjectReference[];
  readonly put: readonly { readonly kind: string }[];
}

const script = fileURLToPath(new URL("./api-process.ts", import.meta.url));

export class LiveApi {
  readonly #process: LineProcess;
  readonly #present = new Map<string, ObjectReference>();

  constructor(world: World) {
    this.#process = new LineProcess("API server", [script], { netns: world.netns });
    world.atEnd(() => this.#process.stop());
  }

  /** Writes a kubeconfig that leads there. */
  async writeKubeconfig(file: string): Promise<void> {
    const server = await this.change([], []);
    const clusters = [{ name: "live", cluster: { server } }];
    const users = [{ name: "live", user: {} }];
    const contexts = [{ name: "live", context: { cluster: "live", user: "live" } }];
    const config = { apiVersion: "v1", kind: "Config", clusters, users, contexts, "current-context": "live" };
    writeFileSync(file, JSON.stringify(config));
  }

  /** Removes, then puts; gives the API server's URL. */
  async change(remove: readonly ObjectReference[], put: readonly Manifest[]): Promise<string> {
    for (const { kind, key } of remove) this.#present.delete(`${kind} ${key}`);
    for (const { kind, metadata } of put) {
      const key = metadata.namespace === undefined ? metadata.name : `${metadata.namespace}/${metadata.name}`;
      this.#present.set(`${kind} ${key}`, { kind, key });
    }
    return (await this.#process.ask({ remove, put })) as string;
  }

  /** Everything that is there. */
  present(): readonly ObjectReference[] {
    return [...this.#present.values()];
  }
}
