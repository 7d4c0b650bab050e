# SPDX-License-Identifier: Apache-2.0
# make: everything; make demo, make test: the two commands of the README. Every target sets up what it needs first.

ARCH := $(shell uname -m | sed 's/x86_64/x64/; s/aarch64/arm64/')
export PATH := $(CURDIR)/node_modules/node-linux-$(ARCH)/bin:$(CURDIR)/node_modules/@biomejs/cli-linux-$(ARCH):$(CURDIR)/node_modules/.bin:$(PATH)
PREFIX ?= /usr/local
CLANG ?= clang-19
LLVM_STRIP ?= llvm-strip-19
BPF_OBJECTS := $(patsubst bpf/%.bpf.c,dist/bpf/%.bpf.o,$(wildcard bpf/*.bpf.c))
ADDON_SOURCES := $(wildcard native/src/*) native/binding.gyp native/build.mjs native/package.json
TYPESCRIPT := $(shell find src -name '*.ts' 2>/dev/null)

.PHONY: all setup build addon bpf bundle demo test test-kernels test-cluster lint format bench bench-full bench-control bench-kill soak install clean

all: setup
	@$(MAKE) --no-print-directory build

setup:
	@scripts/setup.sh $(EXTRA_PACKAGES)

build: addon bpf bundle
	@:

addon: dist/libbpf_ts.node native/dist/index.js
bpf: $(BPF_OBJECTS)
bundle: dist/portolan.mjs

dist/libbpf_ts.node: $(ADDON_SOURCES)
	@mkdir -p dist
	npm run --silent build:addon -w libbpf-ts
	cp native/build/Release/libbpf_ts.node $@.tmp
	@mv $@.tmp $@ # a running agent has the old file mapped

native/dist/index.js: native/index.ts $(wildcard native/lib/*.ts) native/tsconfig.json
	npm run --silent build:types -w libbpf-ts
	@touch $@

# -ffile-prefix-map and the strip of DWARF keep the object the same wherever it is built; BTF stays.
dist/bpf/%.bpf.o: bpf/%.bpf.c $(wildcard bpf/*.h)
	@mkdir -p dist/bpf
	$(CLANG) -g -O2 -Wall -Wextra -Werror -target bpf -mcpu=v3 -mllvm -no-stack-slot-sharing -ffile-prefix-map=$(CURDIR)=. \
		-I/usr/include/$$(gcc -print-multiarch) -c $< -o $@.tmp
	$(LLVM_STRIP) -g $@.tmp -o $@
	@rm -f $@.tmp

dist/portolan.mjs: $(TYPESCRIPT) native/dist/index.js scripts/bundle.mjs package.json
	@mkdir -p dist
	node scripts/bundle.mjs

demo: all
	@bin/portolan demo

test: EXTRA_PACKAGES = busybox-static netcat-openbsd runc wget
test: all
	@node scripts/test.mjs $(SUITES)

# Loads and runs the programs on Debian's older kernels under QEMU: minutes, so not part of test.
test-kernels: EXTRA_PACKAGES = qemu-system-x86 busybox-static cpio kmod
test-kernels: all
	@test/kernels/run.sh

# One of test's suites alone: a cluster of three nodes made by kubeadm, without kube-proxy, on this machine.
test-cluster: EXTRA_PACKAGES = busybox-static netcat-openbsd runc wget
test-cluster: all
	@node test/cluster/run.ts

lint: all
	@scripts/lint.sh

format: all
	biome check --write .
	clang-format-19 -i bpf/*.h bpf/*.c

bench: all
	@node bench/bench.ts quick
bench-full: all
	@node bench/bench.ts full
bench-control: all
	@node bench/bench.ts control
bench-kill: all
	@node bench/bench.ts kill

# Ten minutes, or as many seconds as DURATION says.
soak: all
	@node bench/bench.ts soak $(if $(DURATION),--seconds=$(DURATION))

install: all
	@scripts/install.sh $(DESTDIR)$(PREFIX)

clean:
	rm -rf dist native/dist native/build native/build-asan
