// SPDX-License-Identifier: Apache-2.0
// A line of the log in the form that kube-proxy's have: I1122 07:16:55.000000    1234 portolan] "text" key="value"

const SEVERITY: Readonly<Record<string, string>> = { warn: "W", error: "E", fatal: "E" };

/** `json` is a line of the JSON log: level, time, msg, and whatever was said with it. */
export function klogLine(json: string, pid: number): string {
  const { level, time, msg, ...rest } = JSON.parse(json) as Record<string, unknown>;
  const values = Object.entries(rest).map(([key, value]) => ` ${key}=${JSON.stringify(value)}`);
  const head = `${SEVERITY[String(level)] ?? "I"}${stamp(new Date(String(time)))} ${String(pid).padStart(7)} portolan]`;
  return `${head} ${JSON.stringify(msg ?? "")}${values.join("")}\n`;
}

/** Local time: "1122 07:16:55.000000". */
function stamp(time: Date): string {
  const two = (value: number): string => String(value).padStart(2, "0");
  const clock = [time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join(":");
  return `${two(time.getMonth() + 1)}${two(time.getDate())} ${clock}.${String(time.getMilliseconds()).padStart(3, "0")}000`;
}
