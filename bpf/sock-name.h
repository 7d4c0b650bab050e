/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Addresses and ports as the contexts of socket hooks hold them; v6 says in which fields. */
#ifndef PORTOLAN_SOCK_NAME_H
#define PORTOLAN_SOCK_NAME_H

#include "address.h"
#include "scratch.h"

static __always_inline struct address sock_address_of(__u32 a, __u32 b, __u32 c, __u32 d)
{
	return (struct address){.high = a | (__u64)b << 32, .low = c | (__u64)d << 32};
}

/* The address and port in the context: read again wherever they are needed, see scratch.h. */
static __always_inline struct peer_name sock_name(struct bpf_sock_addr *ctx, bool v6)
{
	struct peer_name name = {.port = bpf_ntohs((__u16)READ_ONCE(ctx->user_port))};

	if (v6) {
		name.address.high = *(const volatile address_half *)&ctx->user_ip6[0];
		name.address.low = *(const volatile address_half *)&ctx->user_ip6[2];
	} else {
		name.address = address_of_v4(READ_ONCE(ctx->user_ip4));
	}
	return name;
}

static __always_inline void sock_rename(struct bpf_sock_addr *ctx, bool v6, struct peer_name name)
{
	if (v6) {
		*(volatile address_half *)&ctx->user_ip6[0] = name.address.high;
		*(volatile address_half *)&ctx->user_ip6[2] = name.address.low;
	} else {
		ctx->user_ip4 = address_to_v4(name.address);
	}
	ctx->user_port = bpf_htons(name.port);
}

static __always_inline struct peer_name sock_backend_name(const struct backend *backend)
{
	return (struct peer_name){address_load(backend->addr), backend->port};
}

#endif
