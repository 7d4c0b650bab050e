// SPDX-License-Identifier: Apache-2.0
// Runs first in every process of the tests: a sanitizer's library was preloaded for Node.js alone, not for the other
// programs that tests start (ip, unshare, …).
delete process.env["LD_PRELOAD"];
