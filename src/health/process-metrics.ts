// SPDX-License-Identifier: Apache-2.0
// The process itself: process_* as every Prometheus client has it on Linux, and nodejs_* where kube-proxy has go_*.

import { readdirSync, readFileSync } from "node:fs";
import { Counter, Gauge, type Registry } from "./prometheus.ts";

/** Unix seconds. */
export const processStartSec = performance.timeOrigin / 1_000;

export function registerProcessMetrics(registry: Registry): void {
  const reading = (name: string, help: string, read: () => number): void => {
    const total = name.endsWith("_total");
    const collect = function (this: Counter | Gauge): void {
      this.reset();
      this.inc(read());
    };
    const options = { name, help, registers: [registry], collect };
    if (total) new Counter(options);
    else new Gauge(options);
  };
  const cpuSeconds = (): number => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  };
  reading("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", cpuSeconds);
  reading("process_open_fds", "Number of open file descriptors.", () => readdirSync("/proc/self/fd").length);
  reading("process_max_fds", "Maximum number of open file descriptors.", () => limit("Max open files"));
  reading("process_resident_memory_bytes", "Resident memory size in bytes.", () => process.memoryUsage.rss());
  reading("process_virtual_memory_bytes", "Virtual memory size in bytes.", virtualBytes);
  const mostVirtual = "Maximum amount of virtual memory available in bytes.";
  reading("process_virtual_memory_max_bytes", mostVirtual, () => limit("Max address space"));
  const start = "Start time of the process since unix epoch in seconds.";
  reading("process_start_time_seconds", start, () => processStartSec);
  const network = "by the process over the network.";
  const received = `Number of bytes received ${network}`;
  reading("process_network_receive_bytes_total", received, () => ipBytes("InOctets"));
  reading("process_network_transmit_bytes_total", `Number of bytes sent ${network}`, () => ipBytes("OutOctets"));
  registerRuntime(registry, reading);
}

function registerRuntime(registry: Registry, reading: (name: string, help: string, read: () => number) => void): void {
  const memory = (): NodeJS.MemoryUsage => process.memoryUsage();
  reading("nodejs_heap_size_total_bytes", "Size of the JavaScript heap in bytes.", () => memory().heapTotal);
  reading("nodejs_heap_size_used_bytes", "Used part of the JavaScript heap in bytes.", () => memory().heapUsed);
  reading("nodejs_external_memory_bytes", "Memory outside the heap in bytes.", () => memory().external);
  const version = new Gauge({
    name: "nodejs_version_info",
    help: "Version of Node.",
    labelNames: ["version"],
    registers: [registry],
  });
  version.set({ version: process.version }, 1);
}

function limit(name: string): number {
  const value = new RegExp(`^${name} +(\\S+)`, "m").exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
  return value === "unlimited" ? 2 ** 64 : Number(value);
}

/** Field 23 of /proc/self/stat; the name before it may hold anything. */
function virtualBytes(): number {
  const stat = readFileSync("/proc/self/stat", "utf8");
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[20]);
}

/** A counter of the line pair IpExt in this network namespace. */
function ipBytes(name: string): number {
  const [names = "", values = ""] = readFileSync("/proc/self/net/netstat", "utf8")
    .split("\n")
    .filter((line) => line.startsWith("IpExt:"));
  return Number(values.split(" ")[names.split(" ").indexOf(name)] ?? 0);
}
