// SPDX-License-Identifier: Apache-2.0
// The folder that is moved away while it is being read: its files are not gone, it is.

import { mkdtempSync, renameSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ManifestFolder } from "../../../src/source/manifest-folder.ts";

const SERVICE = `apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}
`;

test("no file is forgotten, whenever the folder goes", async () => {
  const parent = mkdtempSync(join(tmpdir(), "portolan-folder-"));
  const stop = new AbortController().signal;
  try {
    const path = mkdtempSync(join(parent, "manifests-"));
    for (const name of ["a.yaml", "b.yaml", "c.yaml"]) {
      writeFileSync(join(path, name), SERVICE);
      utimesSync(join(path, name), 1, 1);
    }
    const folder = new ManifestFolder(path, 0);
    await folder.read(stop);
    expect(folder.size).toBe(3);
    for (let turn = 0; turn < 500; turn++) {
      const reading = folder.read(stop).catch((error: NodeJS.ErrnoException) => expect(error.code).toBe("ENOENT"));
      for (let wait = 0; wait < turn % 5; wait++) await new Promise((resolve) => setImmediate(resolve));
      renameSync(path, `${path}-away`);
      await reading;
      renameSync(`${path}-away`, path);
      expect(folder.size).toBe(3);
    }
  } finally {
    rmSync(parent, { recursive: true, force: true });
  }
});
