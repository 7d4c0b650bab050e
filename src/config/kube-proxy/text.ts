// SPDX-License-Identifier: Apache-2.0
// A configuration as text: JSON as /configz answers it, YAML as kube-proxy writes files.

import type { Config } from "../schema.ts";
import { wireConfiguration } from "./wire.ts";

/** The answer of /configz: compact JSON, keys in the order of kube-proxy's own type, no newline. */
export function configzText(config: Config): string {
  return JSON.stringify({ "kubeproxy.config.k8s.io": wireConfiguration(config) });
}

/** Plain text that another reader would take for a number, a boolean or nothing. */
const AMBIGUOUS = new RegExp(
  [
    "~?|null|Null|NULL|true|True|TRUE|false|False|FALSE|yes|Yes|YES|[yY]|no|No|NO|[nN]|on|On|ON|off|Off|OFF",
    "[-+]?(?:\\d[\\d_]*(?:\\.[\\d_]*)?|\\.\\d[\\d_]*)(?:[eE][-+]?\\d+)?|0[bBoOxX][\\da-fA-F_]+",
    "[-+]?\\.(?:inf|Inf|INF)|\\.(?:nan|NaN|NAN)",
    "[-+]?\\d[\\d_]*(?::[0-5]?\\d)+(?:\\.\\d*)?|\\d{4}-\\d\\d?-\\d\\d?.*",
  ]
    .map((alternatives) => `^(?:${alternatives})$`)
    .join("|"),
);

/** What would begin or end a document, at the beginning of a line. */
const MARKER = /^(?:---|\.\.\.)/;

/** YAML with sorted keys, lists not indented, strings quoted only where they have to be. */
export async function yamlText(value: object): Promise<string> {
  const { Document, isScalar, visit } = await import("yaml");
  const document = new Document(value, { sortMapEntries: true, aliasDuplicateObjects: false });
  visit(document, {
    Scalar(_, node) {
      if (!isScalar(node) || typeof node.value !== "string") return;
      if (AMBIGUOUS.test(node.value) || node.value.includes("\t")) node.type = "QUOTE_DOUBLE";
      else if (MARKER.test(node.value)) node.type = "QUOTE_SINGLE";
    },
  });
  return document.toString({ indentSeq: false, singleQuote: true, lineWidth: 0 });
}
