// SPDX-License-Identifier: Apache-2.0
// Links: a program's attachment to a hook as a thing of its own, which can be pinned and given another program.
import { addon, type NativeLink, type NativeProgram } from "./addon.ts";
import { Handle, nativeOf } from "./handle.ts";
import type { LinkInfo } from "./types.ts";

/** A link's file descriptor. A link that is not pinned detaches when the last one closes. */
export class BpfLink extends Handle<NativeLink> {
  readonly #native: NativeLink;

  /** For this package; use open, openById or BpfProgram.attach…. */
  constructor(native: NativeLink) {
    super(native);
    this.#native = native;
  }

  /** A pinned link. EINVAL if something else is pinned there. */
  static open(path: string): BpfLink {
    return new BpfLink(addon.openLink(path));
  }

  /** Needs CAP_SYS_ADMIN. */
  static openById(id: number): BpfLink {
    return new BpfLink(addon.openLinkById(id));
  }

  get info(): LinkInfo {
    return this.#native.info;
  }

  /** Replaces the program in one step: every event meets the old one or the new one. */
  update(program: Handle<NativeProgram>): void {
    this.#native.update(nativeOf(program));
  }

  /** Takes the program off its hook now; the link stays as an empty shell. */
  detach(): void {
    this.#native.detach();
  }

  pin(path: string): void {
    this.#native.pin(path);
  }
}
