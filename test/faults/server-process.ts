// SPDX-License-Identifier: Apache-2.0
// The faulty API server as a process of its own, so that it can be stopped in its tracks. Prints its URL.

import { FaultApiServer } from "../support/api-server.ts";
import { stock } from "./bed.ts";

const server = await FaultApiServer.start();
stock(server);
console.log(`ready ${server.url}`);
