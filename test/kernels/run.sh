#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Boots Debian's kernels of several releases in QEMU on this machine's own files (read-only, by 9p) and runs guest.sh in
# each: do the programs load, and does the demo run? Software emulation, so minutes. Kernels are kept in the cache folder.
#   run.sh [RELEASE ...]     default: bookworm (6.1) bookworm-backports (6.12)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${PORTOLAN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/portolan}/kernels
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
modules="9pnet_virtio 9p overlay virtio_pci"

# The release's kernel package, unpacked, from the Debian mirror that this machine already uses.
fetch() {
	local release=$1 apt=$work/apt-$1 mirror package
	[ -f "$cache/$release/ok" ] && return
	mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null |
		sed -nE 's#^(URIs:|deb) +(\[[^]]*\] +)?(https?://[^ ]*/debian/?)( .*|$)#\3#p' | head -1)
	[ -n "$mirror" ] || { echo "no Debian mirror in this machine's apt sources" >&2; return 1; }
	mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$cache/$release"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $release main" >"$apt/sources"
	local options=(-o "Dir::Etc::SourceList=$apt/sources" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$apt/lists"
		-o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root -o APT::Default-Release=)
	apt-get "${options[@]}" -qq update
	package=$(apt-cache "${options[@]}" depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -1)
	echo "kernels: $release is $package"
	(cd "$apt" && apt-get "${options[@]}" -qq download "$package" && dpkg-deb -x linux-image-*.deb "$cache/$release")
	depmod -b "$cache/$release" "$(ls "$cache/$release/lib/modules")"
	touch "$cache/$release/ok"
}

# A small initramfs that puts a tmpfs over the host's files and hands over to guest.sh.
initramfs() {
	local release=$1 dir=$work/initramfs-$1 version file
	version=$(ls "$cache/$release/lib/modules")
	mkdir -p "$dir/bin" "$dir/modules" "$dir/lower" "$dir/upper" "$dir/root"
	cp "$(command -v busybox)" "$dir/bin/busybox"
	: >"$dir/order"
	for module in $modules; do
		modprobe -d "$cache/$release" -S "$version" --show-depends "$module" 2>/dev/null | sed -n 's/^insmod \([^ ]*\).*/\1/p'
	done | awk '!seen[$0]++' | while read -r file; do
		cp "$file" "$dir/modules/"
		echo "${file##*/}" >>"$dir/order"
	done
	cat >"$dir/init" <<-INIT
		#!/bin/busybox sh
		/bin/busybox mkdir -p /proc /dev
		/bin/busybox mount -t proc proc /proc
		/bin/busybox mount -t devtmpfs dev /dev
		while read -r m; do /bin/busybox insmod /modules/\$m; done </order
		/bin/busybox mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=262144 host /lower
		/bin/busybox mount -t tmpfs -o size=1g upper /upper
		/bin/busybox mkdir -p /upper/up /upper/work
		/bin/busybox mount -t overlay -o lowerdir=/lower,upperdir=/upper/up,workdir=/upper/work overlay /root
		exec /bin/busybox switch_root /root /bin/bash $here/guest.sh $root $cache/$release
	INIT
	chmod +x "$dir/init"
	(cd "$dir" && find . | cpio -o -H newc --quiet) >"$work/$release.cpio"
}

failed=0
for release in ${*:-bookworm bookworm-backports}; do
	fetch "$release"
	initramfs "$release"
	echo "kernels: booting $release"
	timeout 900 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -m 3G -smp 2 -nographic -no-reboot \
		-kernel "$(ls "$cache/$release"/boot/vmlinuz-*)" -initrd "$work/$release.cpio" \
		-append "console=ttyS0 panic=-1 quiet net.ifnames=0" \
		-fsdev local,id=h,path=/,security_model=none,readonly=on,multidevs=remap -device virtio-9p-pci,fsdev=h,mount_tag=host -nic none \
		</dev/null >"$work/$release.log" 2>&1 || true
	sed -n '/^guest: /,$p' "$work/$release.log" | tr -d '\r'
	grep -q '^guest: ok' "$work/$release.log" || { echo "kernels: $release FAILED" >&2; tail -30 "$work/$release.log" >&2; failed=$((failed + 1)); }
done
exit "$failed"
