// SPDX-License-Identifier: Apache-2.0
// Another process sends to our port: nothing of it may be heard.
import { execFileSync } from "node:child_process";
import { NetlinkSocket } from "../../index.ts";

const USERSOCK = 2; // the protocol on which processes may talk to each other

const script = `
import socket, sys
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, ${USERSOCK})
s.bind((0, 0))
print(s.sendto(b"x" * 16, (int(sys.argv[1]), 0)))
`;

using socket = new NetlinkSocket(USERSOCK);
const sent = execFileSync("python3", ["-c", script, String(socket.portId)], { encoding: "utf8" });
if (sent.trim() !== "16") throw new Error(`the forgery was not sent: ${sent}`);
console.log(JSON.stringify({ heard: socket.receive(100)?.length ?? 0 }));
