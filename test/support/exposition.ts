// SPDX-License-Identifier: Apache-2.0
// A scrape, taken apart: families with type and help, and their samples.

export interface Family {
  readonly type: string;
  readonly help: string;
  readonly samples: readonly Sample[];
}

export interface Sample {
  /** Of a histogram with its suffix. */
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** As written. */
  readonly value: string;
}

/** Families by name, in the order of the text. Throws at a line that is none of the format. */
export function parseExposition(text: string): Map<string, Family> {
  const families = new Map<string, { type: string; help: string; samples: Sample[] }>();
  let current: { type: string; help: string; samples: Sample[] } | undefined;
  for (const line of text.split("\n").slice(0, -1)) {
    const [, word, name = "", rest = ""] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? [];
    if (word === "HELP") {
      current = { type: "", help: rest, samples: [] };
      families.set(name, current);
    } else if (word === "TYPE" && current !== undefined) current.type = rest;
    else current?.samples.push(sampleOf(line));
  }
  return families;
}

function sampleOf(line: string): Sample {
  const [, name = "", labels = "", value = ""] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
  if (name === "") throw new Error(`no sample: ${line}`);
  const pairs = [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key = "", text = ""]) => [key, text]);
  return { name, labels: Object.fromEntries(pairs) as Record<string, string>, value };
}

/** The value of the family's only sample with these labels. */
export function sampleValue(
  text: string,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number | undefined {
  const bare = name.replace(/_(bucket|sum|count)$/, "");
  const families = parseExposition(text);
  const samples = (families.get(name) ?? families.get(bare))?.samples ?? [];
  const found = samples.filter((sample) => {
    return sample.name === name && Object.entries(labels).every(([label, value]) => sample.labels[label] === value);
  });
  if (found.length > 1) throw new Error(`${found.length} samples of ${name}`);
  return found[0] === undefined ? undefined : Number(found[0].value);
}
