// SPDX-License-Identifier: Apache-2.0
// The program: arguments in, exit status out.

import { main } from "../cli/main.ts";

const status = await main(process.argv.slice(2));
// Output that could not be written has set it already.
process.exitCode ||= status;
// Whatever is left open then ends with the process: a supervisor waits for that.
setTimeout(() => process.exit(), 5_000).unref();
