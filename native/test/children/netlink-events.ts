// SPDX-License-Identifier: Apache-2.0
// Listens to link notifications: once on the event loop, then not at all until the kernel has to drop some.
import { execFileSync } from "node:child_process";
import { BpfError, NetlinkSocket } from "../../index.ts";

const RTMGRP_LINK = 1;

function churn(times: number): void {
  const script = Array.from({ length: times }, () => "link set lt0 mtu 1400\nlink set lt0 mtu 1500\n").join("");
  execFileSync("ip", ["-batch", "-"], { input: script });
}

let links = 0;
const heard = new NetlinkSocket(0, RTMGRP_LINK);
await new Promise<void>((resolve) => {
  heard.onMessage(() => {
    links++;
    heard.close();
    resolve();
  });
  churn(1);
});

using deaf = new NetlinkSocket(0, RTMGRP_LINK);
const lost = new NetlinkSocket(0, RTMGRP_LINK);
churn(400);
let receiveLost = "";
try {
  while (deaf.receive(0) !== null);
} catch (error) {
  receiveLost = error instanceof BpfError ? error.code : String(error);
}
const code = await new Promise<string>((resolve) => {
  lost.onMessage(
    () => {},
    (error) => resolve(error.code),
  );
});
lost.close();
console.log(JSON.stringify({ links, lost: code, receiveLost }));
