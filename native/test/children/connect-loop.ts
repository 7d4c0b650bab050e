// SPDX-License-Identifier: Apache-2.0
// Connects to a listener of its own, one connection at a time, between "start" and "stop"; then, and when asked for the
// "count", says how many failed.
import { createConnection, createServer } from "node:net";

const server = createServer((socket) => socket.destroy());
let running = false;
let refused = 0;
let connected = 0;

function connectOnce(port: number): Promise<void> {
  return new Promise((resolve) => {
    const socket = createConnection({ host: "127.0.0.1", port });
    socket.once("connect", () => {
      connected++;
      socket.destroy();
    });
    socket.once("error", () => refused++);
    socket.once("close", () => resolve());
  });
}

async function loop(port: number): Promise<void> {
  while (running) await connectOnce(port);
  process.send?.({ refused, connected });
}

server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  process.on("message", (message) => {
    if (message === "start") {
      [running, refused, connected] = [true, 0, 0];
      process.send?.({ refused, connected });
      void loop(port);
    } else if (message === "count") {
      process.send?.({ refused, connected });
    } else {
      running = false;
    }
  });
  process.on("disconnect", () => process.exit(0));
  process.send?.("ready");
});
