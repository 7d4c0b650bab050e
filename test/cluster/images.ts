// SPDX-License-Identifier: Apache-2.0
// Container images made from programs of this machine, without a registry: an archive in the OCI layout for `ctr import`.

import { createHash } from "node:crypto";
import { cpSync, createReadStream, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { command } from "../support/daemon.ts";
import { addTools } from "./machine-tools.ts";

export interface Image {
  /** Full name with its tag, as pods name it. */
  readonly name: string;
  /** The program on this machine; a static one, unless `tools` bring its libraries. */
  readonly program: string;
  /** Where it lies in the image; also the image's entry point. */
  readonly path: string;
  /** What follows it there. Default: nothing. */
  readonly args?: readonly string[];
  /** What the program, or somebody in a pod of it, calls: name in the image's /usr/bin to the program's name here. */
  readonly tools?: Readonly<Record<string, string>>;
}

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

const media = "application/vnd.oci.image";
const platform = { os: "linux", architecture: process.arch === "x64" ? "amd64" : process.arch };

/** Writes one archive with all of `images` to `file`; a folder of that name with `.parts` is used meanwhile. */
export async function archiveImages(file: string, images: readonly Image[]): Promise<void> {
  const parts = `${file}.parts`;
  mkdirSync(join(parts, "layout/blobs/sha256"), { recursive: true });
  const manifests = [];
  for (const image of images) {
    const annotations = { "io.containerd.image.name": image.name };
    manifests.push({ ...(await addImage(parts, image)), platform, annotations });
  }
  const index = { schemaVersion: 2, mediaType: `${media}.index.v1+json`, manifests };
  writeFileSync(join(parts, "layout/index.json"), JSON.stringify(index));
  writeFileSync(join(parts, "layout/oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  await tar(file, join(parts, "layout"));
  rmSync(parts, { recursive: true });
}

async function addImage(parts: string, image: Image): Promise<Descriptor> {
  const files = join(parts, "files");
  mkdirSync(join(files, dirname(image.path)), { recursive: true });
  cpSync(image.program, join(files, image.path));
  if (image.tools) await addTools(files, image.tools);
  const packed = join(parts, "layer.tar");
  await tar(packed, files);
  rmSync(files, { recursive: true });
  const layer = await addBlob(parts, `${media}.layer.v1.tar`, packed);
  const config = {
    ...platform,
    config: { Env: [`PATH=${dirname(image.path)}:/usr/bin`], Entrypoint: [image.path], Cmd: image.args ?? [] },
    rootfs: { type: "layers", diff_ids: [layer.digest] },
  };
  return addDocument(parts, `${media}.manifest.v1+json`, {
    schemaVersion: 2,
    mediaType: `${media}.manifest.v1+json`,
    config: await addDocument(parts, `${media}.config.v1+json`, config),
    layers: [layer],
  });
}

async function addDocument(parts: string, mediaType: string, document: object): Promise<Descriptor> {
  const file = join(parts, "document.json");
  writeFileSync(file, JSON.stringify(document));
  return addBlob(parts, mediaType, file);
}

/** Moves a file under the name of its content. */
async function addBlob(parts: string, mediaType: string, file: string): Promise<Descriptor> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(file), hash);
  const hex = hash.digest("hex");
  const { size } = statSync(file);
  renameSync(file, join(parts, "layout/blobs/sha256", hex));
  return { mediaType, digest: `sha256:${hex}`, size };
}

/** The same files give the same archive. */
async function tar(file: string, folder: string): Promise<void> {
  const same = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"];
  await command(["tar", "--create", `--file=${file}`, `--directory=${folder}`, ...same, "."], {}, "", 900_000);
}
