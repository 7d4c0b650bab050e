// SPDX-License-Identifier: Apache-2.0
// Columns, JSON and YAML.

import { expect, test } from "vitest";
import { alignColumns, formatDocument, formatTable } from "../../../src/cli/table.ts";

const rows = [
  { name: "web", port: 80, note: "" },
  { name: "a-long-name", port: 8080, note: "x" },
];
const columns = [
  { title: "NAME", cell: (row: (typeof rows)[number]) => row.name },
  { title: "NOTE", wide: true, cell: (row: (typeof rows)[number]) => row.note },
  { title: "PORT", cell: (row: (typeof rows)[number]) => row.port },
];

test("columns are as wide as their widest cell, lines end without blanks", () => {
  expect(formatTable(rows, columns, { wide: false, headers: true })).toBe(
    "NAME          PORT\nweb           80\na-long-name   8080\n",
  );
});

test("wide columns and no headers on demand; an empty cell is a dash", () => {
  expect(formatTable(rows, columns, { wide: true, headers: false })).toBe(
    "web           -   80\na-long-name   x   8080\n",
  );
});

test("nothing but headers", () => {
  expect(formatTable([], columns, { wide: false, headers: true })).toBe("NAME   PORT\n");
  expect(formatTable([], columns, { wide: false, headers: false })).toBe("");
});

test("lines of different length", () => {
  expect(alignColumns([["a"], ["bb", "c"]])).toBe("a\nbb   c\n");
});

test("big integers are exact in JSON and YAML", async () => {
  const value = { small: 5n, big: 2n ** 60n };
  expect(JSON.parse(await formatDocument(value, "json"))).toEqual({ small: 5, big: "1152921504606846976" });
  expect(await formatDocument(value, "yaml")).toBe('small: 5\nbig: "1152921504606846976"\n');
});

test("control characters of a file name or a manifest are shown, not carried out", () => {
  expect(alignColumns([["a\u001b[2J\n\u009bx", "ü"]])).toBe("a\\x1b[2J\\x0a\\x9bx   ü\n");
});
