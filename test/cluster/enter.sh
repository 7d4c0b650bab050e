#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs a command on a node of the test cluster: in its cgroups and all its namespaces, with the node's environment alone.
#   enter.sh DIRECTORY-OF-THE-NODE PID-OF-ITS-INIT COMMAND...
set -eu
directory=$1 init=$2
shift 2
while read -r cgroup; do
	# In cgroup2 only a leaf may hold processes; the node's init made this one.
	[ ! -d "$cgroup/init" ] || cgroup=$cgroup/init
	echo $$ >"$cgroup/cgroup.procs"
done <"$directory/cgroups"
exec nsenter --target="$init" --mount --uts --ipc --net --pid --cgroup -- \
	env -i PATH=/opt/kube:/opt/portolan/bin:/opt:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb \
	KUBECONFIG=/etc/kubernetes/admin.conf "$@"
