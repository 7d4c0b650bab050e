// SPDX-License-Identifier: Apache-2.0
// Says that something in a folder may have changed: by inotify within milliseconds, by a slow poll where inotify is
// blind (network file systems, targets of symbolic links, the folder itself replaced).

import { type FSWatcher, statSync, watch } from "node:fs";
import type { Clock } from "./clock.ts";

export interface DirectoryWatchOptions {
  readonly path: string;
  readonly clock: Clock;
  /** Quiet time after an event before `onChange` is called; a steady stream of events is not waited out. */
  readonly settleMs: number;
  readonly pollMs: number;
  readonly onChange: () => void;
}

/** However busy the folder is, a change is told after so many settle times. */
const MAX_SETTLES = 10;

export class DirectoryWatch {
  readonly #options: DirectoryWatchOptions;
  #watcher: FSWatcher | null = null;
  #inode = "";
  #cancelPoll: (() => void) | null = null;
  #cancelSettle: (() => void) | null = null;
  #firstEventMs = 0;

  constructor(options: DirectoryWatchOptions) {
    this.#options = options;
  }

  start(): void {
    this.#arm();
    this.#schedulePoll();
  }

  stop(): void {
    this.#cancelPoll?.();
    this.#cancelSettle?.();
    this.#cancelPoll = null;
    this.#cancelSettle = null;
    this.#disarm();
  }

  #schedulePoll(): void {
    this.#cancelPoll = this.#options.clock.after(this.#options.pollMs, () => {
      this.#schedulePoll();
      this.#arm();
      this.#options.onChange();
    });
  }

  /** Watches the folder that the path names now; a replaced folder has another inode. */
  #arm(): void {
    const inode = this.#currentInode();
    if (this.#watcher !== null && inode === this.#inode) return;
    this.#disarm();
    this.#inode = inode;
    if (inode === "") return;
    try {
      const watcher = watch(this.#options.path, () => this.#settle());
      watcher.on("error", () => this.#disarm());
      this.#watcher = watcher;
    } catch {
      // No inotify instance left, or the folder went away this instant: the poll goes on and tries again.
    }
  }

  #disarm(): void {
    this.#watcher?.close();
    this.#watcher = null;
  }

  #currentInode(): string {
    const stat = statSync(this.#options.path, { throwIfNoEntry: false, bigint: true });
    return stat === undefined ? "" : `${stat.dev}:${stat.ino}`;
  }

  #settle(): void {
    const { clock, settleMs, onChange } = this.#options;
    const now = clock.now();
    if (this.#cancelSettle === null) this.#firstEventMs = now;
    else if (now - this.#firstEventMs > MAX_SETTLES * settleMs) return;
    this.#cancelSettle?.();
    this.#cancelSettle = clock.after(settleMs, () => {
      this.#cancelSettle = null;
      // The event may have been the folder's own end.
      this.#arm();
      onChange();
    });
  }
}
