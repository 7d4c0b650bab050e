// SPDX-License-Identifier: Apache-2.0
// Two settings compared: what one of them says otherwise, as a file would have to say it, and as paths.

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

/** The keys of `value` that are not as in `base`, with what they hold; objects key by key. */
export function difference(value: object, base: object): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  const before = base as Readonly<Record<string, unknown>>;
  for (const [key, item] of Object.entries(value)) {
    const other = before[key];
    if (!isObject(item) || !isObject(other)) {
      if (!same(item, other)) found[key] = item;
      continue;
    }
    const inner = difference(item, other);
    if (Object.keys(inner).length > 0) found[key] = inner;
  }
  return found;
}

/** Where two settings differ: "conntrack.min". */
export function differingPaths(value: object, base: object): string[] {
  return pathsOf(difference(value, base), "");
}

function pathsOf(found: Readonly<Record<string, unknown>>, above: string): string[] {
  return Object.entries(found).flatMap(([key, item]) => {
    const path = above === "" ? key : `${above}.${key}`;
    return isObject(item) ? pathsOf(item, path) : [path];
  });
}
