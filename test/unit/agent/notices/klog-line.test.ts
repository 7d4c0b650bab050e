// SPDX-License-Identifier: Apache-2.0
// Log lines in kube-proxy's text form, and the level that its numbers stand for.

import { pino } from "pino";
import { expect, test } from "vitest";
import { klogLine } from "../../../../src/agent/notices/klog-line.ts";
import { setVerbosity } from "../../../../src/agent/notices/log.ts";

const at = (level: string): string =>
  JSON.stringify({ level, time: "2026-11-22T07:16:05.042Z", msg: "in sync", services: 3 });

test("severity, local time, pid, quoted text, key=value", () => {
  const time = new Date("2026-11-22T07:16:05.042Z");
  const hour = String(time.getHours()).padStart(2, "0");
  const day = `${time.getMonth() + 1}${time.getDate()}`;
  expect(klogLine(at("info"), 1234)).toBe(
    `I${day} ${hour}:${String(time.getMinutes()).padStart(2, "0")}:05.042000    1234 portolan] "in sync" services=3\n`,
  );
});

test.each([
  ["trace", "I"],
  ["debug", "I"],
  ["info", "I"],
  ["warn", "W"],
  ["error", "E"],
  ["fatal", "E"],
])("%s is %s", (level, letter) => {
  expect(klogLine(at(level), 1)[0]).toBe(letter);
});

test("text and values are quoted, so that a line stays a line", () => {
  const json = JSON.stringify({
    level: "warn",
    time: "2026-01-02T03:04:05.000Z",
    msg: 'a "b"\n',
    list: [1, "x"],
    s: "1\n2",
  });
  expect(klogLine(json, 1)).toMatch(/portolan\] "a \\"b\\"\\n" list=\[1,"x"\] s="1\\n2"\n$/);
});

test("verbosity while running", () => {
  const log = pino({ enabled: true, level: "error" }, { write: () => undefined });
  const levels = [0, 3, 4, 5, 6, 10].map((verbosity) => {
    setVerbosity(log, verbosity);
    return log.level;
  });
  expect(levels).toEqual(["info", "info", "debug", "debug", "trace", "trace"]);
});
