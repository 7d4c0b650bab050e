#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds the parts of a real cluster that tests and benchmarks run, from the Go module proxy alone, into a cache folder
# outside the tree: only what is missing there. Prints the folder last.
#   test/kube/build.sh [NAME ...]     default: etcd kubeadm kube-apiserver kube-controller-manager kube-proxy kubectl
# Every command named in a go.mod here may be asked for: Kubernetes, etcd, containerd, CNI plugins, CoreDNS, ginkgo; and
# e2e.test, Kubernetes' end-to-end suite.
# PORTOLAN_CACHE moves the cache.
set -euo pipefail

kubernetes=v1.36.3
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${PORTOLAN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/portolan}/kube-$kubernetes
export CGO_ENABLED=0 GOTOOLCHAIN=local GOWORK=off GOFLAGS=

# Without these the API server calls itself v0.0.0, and kubeadm and kubelet refuse it.
version_flags() {
	local package
	printf -- '-s -w'
	for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
		printf -- ' -X %s.gitVersion=%s -X %s.gitMajor=1 -X %s.gitMinor=36 -X %s.gitTreeState=clean' \
			"$package" "$kubernetes" "$package" "$package" "$package"
	done
}

# A build that is interrupted leaves nothing under the final name; two at once leave one whole binary.
build() {
	local name=$1 module=$here package=k8s.io/kubernetes/cmd/$1 command=(build) flags started=$SECONDS
	flags=$(version_flags)
	case $name in
	etcd) module=$here/etcd package=go.etcd.io/etcd/server/v3 ;;
	containerd | containerd-shim-runc-v2 | ctr) module=$here/containerd package=github.com/containerd/containerd/v2/cmd/$name ;;
	ptp | loopback) module=$here/cni package=github.com/containernetworking/plugins/plugins/main/$name ;;
	host-local) module=$here/cni package=github.com/containernetworking/plugins/plugins/ipam/$name ;;
	coredns) module=$here/coredns package=github.com/coredns/coredns ;;
	ginkgo) package=github.com/onsi/ginkgo/v2/ginkgo ;;
	agnhost) package=k8s.io/kubernetes/test/images/agnhost ;;
	e2e.test) package=./e2e command=(test -c) ;;
	esac
	[ "$module" = "$here" ] || flags="-s -w"
	partial=$out/.$name.$$
	echo "building $name"
	(cd "$module" && go "${command[@]}" -mod=readonly -trimpath -buildvcs=false -ldflags "$flags" -o "$partial" "$package")
	mv "$partial" "$out/$name"
	echo "built $name in $((SECONDS - started)) s"
}

[ $# -gt 0 ] || set -- etcd kubeadm kube-apiserver kube-controller-manager kube-proxy kubectl
command -v go >/dev/null || { echo "build.sh: no Go; install Go 1.26 or newer (https://go.dev/dl)" >&2; exit 1; }
mkdir -p "$out"
partial=
trap 'rm -f "$partial"' EXIT
for name; do
	[ -x "$out/$name" ] || build "$name"
done
echo "$out"
