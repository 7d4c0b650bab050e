#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Two clean builds of the BPF objects, in two directories, must agree byte for byte.
set -eu
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for copy in one another/deeper; do
	mkdir -p "$scratch/$copy"
	cp -r bpf Makefile scripts "$scratch/$copy/"
	make --no-print-directory -C "$scratch/$copy" bpf >/dev/null
done
for object in "$scratch"/one/dist/bpf/*.o; do
	cmp "$object" "$scratch/another/deeper/dist/bpf/${object##*/}"
	sha256sum "$object" | sed "s#$scratch/one/##"
done
