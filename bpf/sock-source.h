/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Where does a call come from, and may it come from there? */
#ifndef PORTOLAN_SOCK_SOURCE_H
#define PORTOLAN_SOCK_SOURCE_H

#include "config.h"
#include "datagram.h"
#include "lb.h"
#include "sock-name.h"

static __always_inline bool sock_in_host(void *ctx)
{
	return bpf_get_netns_cookie(ctx) == host_netns_cookie;
}

static __always_inline bool sock_is_udp(struct bpf_sock_addr *ctx)
{
	return READ_ONCE(ctx->protocol) == IPPROTO_UDP;
}

/* The source a socket is bound to or, in sendmsg, that the datagram asks for. */
static __always_inline struct address sock_source(struct bpf_sock_addr *ctx, bool v6, bool message)
{
	struct bpf_sock *sk = ctx->sk;

	if (!v6)
		return address_of_v4(message ? ctx->msg_src_ip4 : sk->src_ip4);
	if (message)
		return sock_address_of(ctx->msg_src_ip6[0], ctx->msg_src_ip6[1],
				       ctx->msg_src_ip6[2], ctx->msg_src_ip6[3]);
	return sock_address_of(sk->src_ip6[0], sk->src_ip6[1], sk->src_ip6[2], sk->src_ip6[3]);
}

/* From a loopback source no other address can be reached: such a call is left as it is. */
static __always_inline bool sock_is_stuck(struct scratch *scratch, struct address source, __u32 id)
{
	struct backend *backend;

	if (!address_is_loopback(source))
		return false;
	backend = lb_backend(scratch, id);
	if (backend && address_is_loopback(address_load(backend->addr)))
		return false;
	stat_count(scratch, STAT_LOOPBACK_SOURCE);
	return true;
}

/*
 * Is a call from here within the frontend's source ranges? Before a socket is bound
 * nobody knows its address: then it counts who calls. A connected UDP socket
 * has an address even if nobody bound it, the one its last peer was reached from:
 * if that is in no range, it is judged like one that has none.
 */
static __always_inline bool sock_is_admitted(struct bpf_sock_addr *ctx,
					     const struct address *source, lb_frontend frontend)
{
	struct src_range_key key __attribute__((aligned(8)));
	__u32 flag = FRONTEND_ALLOW_PODS;

	if (!address_is_unspecified(*source)) {
		*(address_half *)&key = SRC_RANGE_BITS | (__u64)LB_SERVICE(frontend)
							     << SRC_RANGE_SERVICE_BITS;
		address_store(key.addr, *source);
		if (bpf_map_lookup_elem(&pt_src_ranges, &key))
			return true;
		if (!sock_is_udp(ctx) || !sock_is_connected(ctx))
			return false;
	}
	if (sock_in_host(ctx))
		flag = FRONTEND_ALLOW_HOST;
	return LB_FLAGS(frontend) & flag;
}

/* A function of its own: hardly any frontend has ranges. */
static __noinline int sock_refuse_outsider(struct bpf_sock_addr *ctx, const struct address *source,
					   lb_frontend frontend)
{
	struct scratch scratch;

	if (sock_is_admitted(ctx, source, frontend))
		return false;
	stat_count(&scratch, STAT_SOURCE_OUTSIDE);
	return true;
}

/* Has the frontend source ranges, and is the caller outside them? */
static __always_inline bool sock_is_outside(struct bpf_sock_addr *ctx, bool v6, bool message,
					    lb_frontend frontend)
{
	struct address source;

	if (!(LB_FLAGS(frontend) & FRONTEND_SOURCE_RANGES))
		return false;
	source = sock_source(ctx, v6, message);
	return sock_refuse_outsider(ctx, &source, frontend);
}

#endif
