// SPDX-License-Identifier: Apache-2.0
// Settings over settings: objects are merged key by key, anything else is replaced.

/** `over` wins where it says something; neither is changed. */
export function merged<T extends object>(base: T, over: object): T {
  const result = { ...base } as Record<string, unknown>;
  for (const [key, value] of Object.entries(over)) {
    if (value === undefined) continue;
    const before = result[key];
    result[key] = isObject(value) && isObject(before) ? merged(before, value) : value;
  }
  return result as T;
}

const isObject = (value: unknown): value is object =>
  typeof value === "object" && value !== null && !Array.isArray(value);
