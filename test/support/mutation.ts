// SPDX-License-Identifier: Apache-2.0
// Objects with something wrong in them: a good one, some of its values replaced by anything at all, some members gone.

import fc from "fast-check";

export interface Edit {
  /** Member by member from the top, each by its number among those there are. */
  readonly path: readonly number[];
  readonly value: unknown;
  readonly remove: boolean;
}

/** A copy with the edits made; paths that lead nowhere make none. */
export function mutated(object: unknown, edits: readonly Edit[]): unknown {
  const copy: unknown = structuredClone(object);
  for (const edit of edits) make(edit, copy);
  return copy;
}

function make({ path, value, remove }: Edit, object: unknown): void {
  let at = object;
  for (const [depth, step] of path.entries()) {
    if (typeof at !== "object" || at === null) return;
    const names = Object.keys(at);
    const name = names[step % Math.max(1, names.length)];
    if (name === undefined) return;
    const holder = at as Record<string, unknown>;
    const next = holder[name];
    if (depth < path.length - 1 && typeof next === "object" && next !== null) {
      at = next;
      continue;
    }
    if (remove) delete holder[name];
    else holder[name] = value;
    return;
  }
}

const anything = fc.oneof(
  fc.anything({ withBigInt: true, withDate: true, withMap: true, withNullPrototype: true }),
  fc.ipV4(),
  fc.ipV6(),
  fc.integer(),
  fc.constantFrom(
    "None",
    "Local",
    "IPv4",
    "IPv6",
    "FQDN",
    "UDP",
    "SCTP",
    "ExternalName",
    "10.0.0.0/8",
    "::/0",
    true,
    false,
  ),
);

/** Some edits of one object. */
export const objectEdits: fc.Arbitrary<readonly Edit[]> = fc.array(
  fc.record({
    path: fc.array(fc.nat(20), { minLength: 1, maxLength: 6 }),
    value: anything,
    remove: fc.boolean(),
  }),
  { maxLength: 6 },
);
