// SPDX-License-Identifier: Apache-2.0
// Profiles of the running agent where kube-proxy has Go's: of the CPU (/debug/pprof/profile) and of what was
// allocated meanwhile and lives (/debug/pprof/heap), in V8's formats. The inspector is used inside the process: no port is opened.

import { Session } from "node:inspector/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { type Answer, plain } from "./answer.ts";

const DEFAULT_SEC = 30;
const MOST_SEC = 300;

let running = false;

/** `query`: the URL's, as "seconds=10". One profile at a time. */
export async function profile(kind: "profile" | "heap", query: URLSearchParams): Promise<Answer> {
  if (running) return plain(503, "another profile is being taken\n");
  const seconds = Number(query.get("seconds") ?? DEFAULT_SEC);
  if (!(seconds > 0 && seconds <= MOST_SEC))
    return plain(400, `seconds must be more than 0, and at most ${MOST_SEC}\n`);
  running = true;
  const session = new Session();
  session.connect();
  try {
    return kind === "profile" ? await cpu(session, seconds) : await heap(session, seconds);
  } finally {
    session.disconnect();
    running = false;
  }
}

async function cpu(session: Session, seconds: number): Promise<Answer> {
  await session.post("Profiler.enable");
  await session.post("Profiler.start");
  await sleep(1_000 * seconds, undefined, { ref: false });
  const { profile } = await session.post("Profiler.stop");
  return file("portolan.cpuprofile", profile);
}

/** What was allocated in these seconds, by whom, and lives, by samples: a whole snapshot would stop the agent for as long as it takes. */
async function heap(session: Session, seconds: number): Promise<Answer> {
  await session.post("HeapProfiler.enable");
  await session.post("HeapProfiler.startSampling", {});
  await sleep(1_000 * seconds, undefined, { ref: false });
  const { profile } = await session.post("HeapProfiler.stopSampling");
  return file("portolan.heapprofile", profile);
}

const file = (name: string, content: unknown): Answer => ({
  status: 200,
  headers: {
    "Content-Disposition": `attachment; filename="${name}"`,
    "Content-Type": "application/json",
    "X-Content-Type-Options": "nosniff",
  },
  body: JSON.stringify(content),
});
