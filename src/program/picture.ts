// SPDX-License-Identifier: Apache-2.0
// What the kernel has, as the programmer knows it: between two turns of the event loop the maps hold exactly this, unless
// somebody else has written to them.

import type { ExtentAllocator, IdAllocator } from "./allocator.ts";
import type { BackendBook } from "./backend-book.ts";
import type { FrontendTable } from "./frontend-table.ts";
import type { NodeAddressWriter } from "./node-addresses.ts";
import type { SourceRangeWriter } from "./source-ranges.ts";
import type { UnitState } from "./unit-state.ts";

export interface Picture {
  readonly units: ReadonlyMap<string, UnitState>;
  readonly serviceIds: IdAllocator;
  readonly backendIds: IdAllocator;
  readonly slots: ExtentAllocator;
  readonly backends: BackendBook;
  readonly table: FrontendTable;
  readonly ranges: SourceRangeWriter;
  readonly nodeAddresses: NodeAddressWriter;
}

/** The picture contradicts itself: nothing may be written by it any more. */
export class BrokenPicture extends Error {}
