#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Style and types of everything: biome, tsc, clang-format, and every BPF header compiled alone.
set -eu
cd "$(dirname "$0")/.."
biome check .
tsc -p tsconfig.json
clang-format-19 --dry-run -Werror bpf/*.h bpf/*.c
for header in bpf/*.h; do
	clang-19 -O2 -Wall -Wextra -Werror -Wno-unused-const-variable -Wno-unused-function -target bpf -mcpu=v3 \
		"-I/usr/include/$(gcc -print-multiarch)" -x c -fsyntax-only -include linux/types.h "$header"
done
