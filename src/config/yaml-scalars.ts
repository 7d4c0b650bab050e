// SPDX-License-Identifier: Apache-2.0
// What plain words mean in YAML to the library that kube-proxy reads it with: booleans of YAML 1.1, numbers as Go writes
// them, and text wherever those do not fit.

import type { ScalarTag } from "yaml";
import { goFloat, goInteger } from "./go-number.ts";

const oldBoolean: ScalarTag = {
  tag: "tag:yaml.org,2002:bool",
  default: true,
  test: /^(?:y|Y|yes|Yes|YES|n|N|no|No|NO|on|On|ON|off|Off|OFF)$/,
  resolve: (text) => /^(?:y|yes|on)$/i.test(text),
};

const number: ScalarTag = {
  tag: "tag:yaml.org,2002:int",
  default: true,
  test: /^(?:[-+]?\d|[-+]?\.\d)[\w.+-]*$/,
  resolve(text) {
    const plain = text.startsWith(".") ? text : text.replaceAll("_", "");
    return goInteger(plain) ?? goFloat(plain) ?? text;
  },
};

/** To be asked before the tags of YAML 1.2. */
export const GO_SCALARS: readonly ScalarTag[] = [oldBoolean, number];
