#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Becomes a node of the test cluster: joins the node's cgroups, makes its namespaces, and as their process 1 gives it a
# root of its own. What Kubernetes writes stays in DIRECTORY or in memory; of the machine it sees /usr (copied on write),
# /dev and a few files of /etc. Prints "ready" when the node is one.
#   node.sh DIRECTORY NETNS PROGRAMS OPT     PROGRAMS and OPT are seen, read-only, as /opt/kube and /opt
# In DIRECTORY: cgroups (a directory a line to join), hierarchies (a line for each cgroup mount: type, options, place).
set -eu
directory=$1 netns=$2 programs=$3 opt=$4

if [ $$ != 1 ]; then
	while read -r cgroup; do echo $$ >"$cgroup/cgroup.procs"; done <"$directory/cgroups"
	exec nsenter --net="/run/netns/$netns" -- \
		unshare --mount --uts --ipc --pid --cgroup --fork --kill-child --propagation private -- \
		env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin sh "$0" "$@"
fi

read_only() { mount --bind "$1" "$2" && mount -o remount,bind,ro "$2"; }

files() {
	mkdir -p "$directory/root" "$directory/var/lib" "$directory/var/log" "$directory/var/tmp"
	mount -t tmpfs -o mode=755,size=64m node "$directory/root"
	cd "$directory/root"
	mkdir -p usr usr-writes/files usr-writes/work etc var run tmp root proc sys dev opt old
	for link in bin sbin lib lib64; do [ ! -L "/$link" ] || ln -s "usr/$link" "$link"; done
	mount -t overlay -o lowerdir=/usr,upperdir=usr-writes/files,workdir=usr-writes/work usr usr
	for file in passwd group nsswitch.conf protocols services ld.so.cache ld.so.conf ld.so.conf.d alternatives os-release; do
		[ ! -e "/etc/$file" ] || cp -a "/etc/$file" "$directory/etc/"
	done
	mount --bind "$directory/etc" etc
	mount --bind "$directory/var" var
	mount -t tmpfs -o mode=755 run run
	mount -t tmpfs -o mode=1777 tmp tmp
	ln -sfn /run var/run
	read_only "$opt" opt
	read_only "$programs" opt/kube
	mount --rbind /dev dev
	mount -t proc proc proc
	mount -t sysfs sysfs sys
	mount -t bpf bpf sys/fs/bpf
}

# The machine's layout, version 1, hybrid or 2, with the node's own cgroup as the root of every mount.
cgroup_mounts() {
	grep -q ' /sys/fs/cgroup$' "$directory/hierarchies" || mount -t tmpfs -o mode=755,size=1m cgroups sys/fs/cgroup
	while read -r type options place; do
		mkdir -p ".$place"
		mount -t "$type" -o "$options" "$type" ".$place"
		[ "$type" = cgroup2 ] || continue
		mkdir ".$place/init"
		echo 0 >".$place/init/cgroup.procs"
	done <"$directory/hierarchies"
}

# kubelet sets these, and they are the whole machine's: here it reads the values it wants and leaves the machine's alone.
kernel_settings() {
	mkdir run/sysctl
	while read -r setting value; do
		[ -e "proc/sys/$setting" ] || continue
		echo "$value" >"run/sysctl/${setting##*/}"
		mount --bind "run/sysctl/${setting##*/}" "proc/sys/$setting"
	done <<-SETTINGS
		vm/overcommit_memory 1
		vm/panic_on_oom 0
		kernel/panic 10
		kernel/panic_on_oops 1
		kernel/keys/root_maxkeys 1000000
		kernel/keys/root_maxbytes 25000000
	SETTINGS
}

files
cgroup_mounts
kernel_settings
hostname "$(cat etc/hostname)"
pivot_root . old
cd /
umount -l /old
rmdir /old
mount --make-rshared /
echo ready
exec /opt/pod idle
