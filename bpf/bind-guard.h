/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Would a socket bound to an address take a NodePort, or an external frontend, from its Service? */
#ifndef PORTOLAN_BIND_GUARD_H
#define PORTOLAN_BIND_GUARD_H

#include "lb.h"

static __always_inline bool bind_row_is_guarded(struct scratch *scratch)
{
	return LB_FLAGS(lb_row(scratch)) & FRONTEND_BIND_GUARD;
}

static __always_inline bool bind_is_guarded(struct scratch *scratch, struct address address,
					    __u16 port, __u8 proto)
{
	lb_key(scratch, address, port, proto);
	if (bind_row_is_guarded(scratch)) /* an exact frontend or, for a wildcard, a NodePort */
		return true;
	if (!address_is_unspecified(address) && lb_serves_node_ports(scratch)) {
		lb_key(scratch, address_wildcard(address), port, proto);
		return bind_row_is_guarded(scratch);
	}
	/* :: takes IPv4 along. IPV6_V6ONLY, which prevents that, cannot be read here. */
	if (address.high || address.low)
		return false;
	lb_key(scratch, address_of_v4(0), port, proto);
	return bind_row_is_guarded(scratch);
}

#endif
