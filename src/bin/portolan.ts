// SPDX-License-Identifier: Apache-2.0
// The program: arguments in, exit status out.

import { main } from "../cli/main.ts";

process.exitCode = await main(process.argv.slice(2));
