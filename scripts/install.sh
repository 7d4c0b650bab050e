#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# install.sh ROOT: lays down ROOT/bin/portolan and ROOT/lib/portolan: Node, bundle, addon with the shared libraries it
# needs, BPF objects. The tree finds itself, so it may be moved or copied into an image.
set -eu
umask 022
root=$1
cd "$(dirname "$0")/.."
case $(uname -m) in x86_64) arch=x64 ;; aarch64) arch=arm64 ;; *) arch=$(uname -m) ;; esac
lib=$root/lib/portolan
install -d "$root/bin" "$lib/bpf" "$lib/lib"
install -m 755 bin/portolan "$root/bin/portolan"
# Under this name it takes kube-proxy's command line.
ln -sfn portolan "$root/bin/kube-proxy"
install -m 755 "node_modules/node-linux-$arch/bin/node" "$lib/node"
install -m 644 dist/portolan.mjs LICENSE "$lib/"
install -m 755 dist/libbpf_ts.node "$lib/"
install -m 644 dist/bpf/*.o "$lib/bpf/"
install -d "$lib/examples/demo"
install -m 644 examples/demo/* "$lib/examples/demo/"
ldd dist/libbpf_ts.node | awk '$1 ~ /^lib(bpf|elf|z)\.so/ { print $3 }' | while read -r library; do
	install -m 644 "$(readlink -f "$library")" "$lib/lib/${library##*/}"
done
