/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the agent decides before load; a false switch is a dead branch to the verifier. */
#ifndef PORTOLAN_CONFIG_H
#define PORTOLAN_CONFIG_H

#include <stdbool.h>
#include <linux/types.h>
#include "types.h"

const volatile __u64 host_netns_cookie = 0; /* of the node's own network namespace */
const volatile __u32 sockets_mask = 65535;  /* pt_sockets' max_entries - 1 */
const volatile bool have_set_retval = true; /* bpf_set_retval: Linux 5.18 */
const volatile bool localhost_node_ports = true;
const volatile bool bind_guard = true;

/* No switch: it carries the enums into BTF, where the agent compares its own constants with them.
 */
const volatile struct {
	enum frontend_flags frontend_flags;
	enum algorithm algorithm;
	enum backend_flags backend_flags;
	enum socket_flags socket_flags;
	enum affinity_client affinity_client;
	enum node_addr_flags node_addr_flags;
	enum stat_reason stat_reason;
} btf_enums = {};

#endif
