// SPDX-License-Identifier: Apache-2.0
// Loaded programs: what the kernel knows of them, test runs, and attaching them.
import { addon, type NativeProgram } from "./addon.ts";
import { Handle, nativeOf } from "./handle.ts";
import { BpfLink } from "./link.ts";
import type { CgroupAttachType, ProgramInfo, TestRunResult } from "./types.ts";

/** Room that a program gets to make a packet longer than its input, unless dataOutBytes says otherwise. */
const GROWTH_BYTES = 256;

export type Direction = "ingress" | "egress";

export interface TestRunOptions {
  data?: Uint8Array;
  ctx?: Uint8Array;
  repeat?: number;
  dataOutBytes?: number;
}

export interface ClsactOptions {
  handle: number;
  priority: number;
}

function isIngress(direction: Direction): boolean {
  if (direction !== "ingress" && direction !== "egress") throw new TypeError("direction must be ingress or egress");
  return direction === "ingress";
}

/** A program's file descriptor. */
export class BpfProgram extends Handle<NativeProgram> {
  readonly #native: NativeProgram;

  /** For this package; use open, openById or BpfObject.program. */
  constructor(native: NativeProgram) {
    super(native);
    this.#native = native;
  }

  /** A pinned program. EINVAL if something else is pinned there. */
  static open(path: string): BpfProgram {
    return new BpfProgram(addon.openProgram(path));
  }

  /** Needs CAP_SYS_ADMIN. */
  static openById(id: number): BpfProgram {
    return new BpfProgram(addon.openProgramById(id));
  }

  get info(): ProgramInfo {
    return this.#native.info;
  }

  /** Runs the program on a packet or context. Returned data and ctx are null if none were given. */
  testRun(options: TestRunOptions): TestRunResult {
    const { data = null, ctx = null, repeat = 1 } = options;
    const room = options.dataOutBytes ?? (data === null ? 0 : data.length + GROWTH_BYTES);
    return this.#native.testRun(data, ctx, repeat, room);
  }

  pin(path: string): void {
    this.#native.pin(path);
  }

  attachCgroup(cgroupDir: string, attachType: CgroupAttachType): BpfLink {
    return new BpfLink(this.#native.attachCgroup(cgroupDir, attachType));
  }

  /** Kernel 6.6; EINVAL before. */
  attachTcx(ifindex: number, direction: Direction): BpfLink {
    return new BpfLink(this.#native.attachTcx(ifindex, isIngress(direction)));
  }

  /** flags: XDP_FLAGS_*; 0 lets the kernel choose the mode. */
  attachXdp(ifindex: number, flags = 0): BpfLink {
    return new BpfLink(this.#native.attachXdp(ifindex, flags));
  }
}

/**
 * For kernels before tcx: a direct-action filter on the device's clsact qdisc, which is made if it is not there.
 * Stays until it is detached; the same handle and priority replace the program in one step.
 */
export function attachClsact(program: BpfProgram, ifindex: number, direction: Direction, options: ClsactOptions): void {
  addon.attachClsact(nativeOf(program), ifindex, isIngress(direction), options.handle, options.priority);
}

/** Leaves the qdisc, which may not be ours. ENOENT if there is no such filter. */
export function detachClsact(ifindex: number, direction: Direction, options: ClsactOptions): void {
  addon.detachClsact(ifindex, isIngress(direction), options.handle, options.priority);
}
