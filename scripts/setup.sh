#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs what the build and the tests need and the machine lacks: Debian packages by apt, Node packages (Node 24
# itself among them) by npm. Says what it installs; quick and silent when nothing is missing.
set -eu
cd "$(dirname "$0")/.."

command -v npm >/dev/null || {
	echo "setup: no npm; apt-get install npm, or Node from https://nodejs.org" >&2
	exit 1
}

# A mirror may fail for a moment.
patiently() {
	for pause in 5 30; do
		"$@" && return
		echo "setup: failed, once more in $pause s: $*" >&2
		sleep "$pause"
	done
	"$@"
}

apt_install() {
	apt-get -o Acquire::Retries=3 update &&
		DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 \
			install -y --no-install-recommends "$@"
}

packages="bpftool clang-19 clang-format-19 curl g++ iproute2 iptables libbpf-dev libelf-dev llvm-19 make nftables openssl procps python3 util-linux zlib1g-dev"

missing=
for package in $packages $*; do
	dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
	if [ "$(id -u)" -ne 0 ]; then
		echo "setup: these packages are missing and only root can install them: apt-get install$missing" >&2
		exit 1
	fi
	echo "setup: apt-get install$missing"
	log=$(mktemp)
	if ! patiently apt_install $missing >"$log" 2>&1 </dev/null; then
		cat "$log" >&2
		rm -f "$log"
		exit 1
	fi
	rm -f "$log"
fi

wanted=$(cat package.json native/package.json package-lock.json | sha256sum | cut -d ' ' -f 1)
stamp=node_modules/.portolan-setup
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
	echo "setup: npm ci (Node 24 and the packages of package-lock.json)"
	patiently npm ci --ignore-scripts --fetch-retries=5 --no-audit --no-fund --loglevel=error
	echo "$wanted" >"$stamp"
fi
