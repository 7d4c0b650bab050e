// SPDX-License-Identifier: Apache-2.0
// The programs of the demo's pods and callers, run by `node -e` in their namespaces. They know nothing of portolan.

/** A backend: answers with its name, over TCP on 8080 and UDP on 8053, both families. */
export const BACKEND = `
const name = process.argv[1];
require("node:net").createServer((socket) => {
  socket.on("error", () => {});
  socket.end(name);
}).listen(8080, "::");
const udp = require("node:dgram").createSocket("udp6");
udp.on("message", (_, from) => udp.send(name, from.port, from.address));
udp.bind(8053, "::", () => console.log("ready"));
`;

/** A caller: a line {protocol, host, port} in, a line {answer, peer, ms} or {error, ms} out. */
export const CALLER = `
const net = require("node:net");
const dgram = require("node:dgram");
function tcp({ host, port }) {
  return new Promise((resolve) => {
    const socket = net.connect({ host, port });
    let answer = "";
    let peer = "";
    socket.setTimeout(1000, () => socket.destroy(Object.assign(new Error(), { code: "no answer" })));
    socket.on("connect", () => { peer = socket.remoteAddress + " port " + socket.remotePort; });
    socket.on("data", (data) => { answer += data; });
    socket.on("end", () => resolve({ answer, peer }));
    socket.on("error", (error) => resolve({ error: error.code }));
  });
}
function udp({ host, port }) {
  return new Promise((resolve) => {
    const socket = dgram.createSocket("udp4");
    const done = (result) => { clearTimeout(timer); socket.close(); resolve(result); };
    const timer = setTimeout(() => done({ error: "no answer" }), 1000);
    socket.on("error", (error) => done({ error: error.code }));
    socket.on("message", (data, from) => done({ answer: String(data), peer: from.address + " port " + from.port }));
    socket.send("?", port, host);
  });
}
require("node:readline").createInterface({ input: process.stdin }).on("line", async (line) => {
  const call = JSON.parse(line);
  const started = performance.now();
  const result = await (call.protocol === "udp" ? udp(call) : tcp(call));
  console.log(JSON.stringify({ ...result, ms: performance.now() - started }));
});
console.log("ready");
`;
