// SPDX-License-Identifier: Apache-2.0
// A sink that remembers what a source told it, and lets a test wait for it.

import type { EndpointSlice, Problem, Service } from "../../../src/model/types.ts";
import type { Kind, SourceSink } from "../../../src/source/source.ts";

export class RecordingSink implements SourceSink {
  readonly services = new Map<string, Service>();
  readonly slices = new Map<string, EndpointSlice>();
  readonly syncedKinds = new Set<Kind>();
  /** "+service ns/name", "-slice ns/name", "synced services", "complete" in the order of the calls. */
  readonly log: string[] = [];
  completed = false;
  onSynced: (kind: Kind) => void = () => undefined;
  readonly #problems = new Map<string, readonly Problem[]>();

  service(key: string, object: Service | null): void {
    this.log.push(`${object === null ? "-" : "+"}service ${key}`);
    if (object === null) this.services.delete(key);
    else this.services.set(key, object);
  }

  endpointSlice(key: string, object: EndpointSlice | null): void {
    this.log.push(`${object === null ? "-" : "+"}slice ${key}`);
    if (object === null) this.slices.delete(key);
    else this.slices.set(key, object);
  }

  synced(kind: Kind): void {
    this.log.push(`synced ${kind}`);
    this.syncedKinds.add(kind);
    this.onSynced(kind);
  }

  problems(kind: Problem["kind"], key: string, problems: readonly Problem[]): void {
    if (problems.length === 0) this.#problems.delete(`${kind} ${key}`);
    else this.#problems.set(`${kind} ${key}`, problems);
  }

  complete(): void {
    this.log.push("complete");
    this.completed = true;
  }

  /** `subject`: "Service ns/name", "File /path". */
  problemsOf(subject: string): readonly Problem[] {
    return this.#problems.get(subject) ?? [];
  }

  get problemSubjects(): readonly string[] {
    return [...this.#problems.keys()];
  }

  /** Waits for the condition; fails with the log when it does not come true in time. */
  async until(condition: () => boolean, timeoutMs = 60_000): Promise<void> {
    const end = performance.now() + timeoutMs;
    while (!condition()) {
      if (performance.now() > end)
        throw new Error(`did not happen in ${timeoutMs} ms; seen:\n${this.log.slice(-20).join("\n")}`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }
}
