#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Process 1 of a test guest (run.sh): mounts what a node has, checks the features, loads the programs, runs the demo,
# powers off.   guest.sh CHECKOUT KERNEL-TREE
root=$1 tree=$2
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
finish() { sync; busybox poweroff -f; sleep 30; }
trap finish EXIT
mount -t proc proc /proc
mount -t devtmpfs dev /dev
mount -t sysfs sys /sys
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mkdir -p /run/netns
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for module in veth bridge udp_diag tcp_diag; do modprobe -d "$tree" "$module" || echo "guest: no module $module"; done
ip link set lo up
echo; echo "guest: Linux $(uname -r)"
cd "$root" || exit 1
set -o pipefail
# Two capabilities and no more: the verifier is stricter then.
setpriv --bounding-set=-all,+bpf,+net_admin --inh-caps=-all --no-new-privs bin/portolan preflight | tee /tmp/preflight &&
	grep -q "of the host are ended by sock_diag, of pods told by failing sends" /tmp/preflight &&
	timeout 600 bin/portolan demo && echo "guest: ok"
