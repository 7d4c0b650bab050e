// SPDX-License-Identifier: Apache-2.0
// The object under test: its file, its programs and their hooks, and the map sizes it is given in tests.

import { join } from "node:path";
import type { CgroupAttachType } from "libbpf-ts";

/** PORTOLAN_TEST_OBJECT: another build of it, say one that is broken on purpose. */
export const OBJECT = process.env["PORTOLAN_TEST_OBJECT"] ?? join(import.meta.dirname, "../../dist/bpf/sock.bpf.o");

export const HOOKS: Readonly<Record<string, CgroupAttachType>> = {
  pt_connect4: "cgroup_inet4_connect",
  pt_connect6: "cgroup_inet6_connect",
  pt_sendmsg4: "cgroup_udp4_sendmsg",
  pt_sendmsg6: "cgroup_udp6_sendmsg",
  pt_recvmsg4: "cgroup_udp4_recvmsg",
  pt_recvmsg6: "cgroup_udp6_recvmsg",
  pt_getpeername4: "cgroup_inet4_getpeername",
  pt_getpeername6: "cgroup_inet6_getpeername",
  pt_post_bind4: "cgroup_inet4_post_bind",
  pt_post_bind6: "cgroup_inet6_post_bind",
  pt_sock_release: "cgroup_inet_sock_release",
};

/**
 * Map sizes of the tests: small, as nothing here is about size. But cookies are given out by each CPU in turn, so that in
 * a small pt_sockets two sockets of a process that moves meet in one place now and then.
 */
export const SIZES: Readonly<Record<string, number>> = {
  pt_frontends: 1024,
  pt_services: 64,
  pt_slots: 1024,
  pt_backends: 256,
  pt_active: 256,
  pt_sockets: 65_536,
  pt_udp_peers: 1024,
  pt_affinity: 1024,
  pt_names: 64,
  pt_src_ranges: 256,
};
