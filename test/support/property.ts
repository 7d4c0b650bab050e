// SPDX-License-Identifier: Apache-2.0
// fast-check with the same cases in every run. PROPERTY_SEED gives others.

import fc from "fast-check";

fc.configureGlobal({ seed: Number(process.env["PROPERTY_SEED"] ?? 20_261_122) });

export { fc };
