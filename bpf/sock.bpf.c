/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Services at the socket: connect() and sendto() to a frontend go to a backend,
 * and the application keeps seeing the address it called. What a call means is
 * decided once, for both families; v6 says which of the context's fields hold the
 * address.
 *
 * Sockets cross families: AF_INET6 sockets pass connect6 with ::ffff:a.b.c.d, but
 * sendmsg4 and recvmsg6, and after connect(AF_INET address) connect4 and
 * getpeername6.
 */
#include <linux/bpf.h>
#include <linux/errno.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
#include "bind-guard.h"
#include "config.h"
#include "datagram.h"
#include "lb.h"
#include "record.h"
#include "sock-name.h"
#include "sock-source.h"

char sock_license[] SEC("license") = "Dual BSD/GPL";

/* What hooks return. */
#define SOCK_ALLOW  1
#define SOCK_REFUSE 0

/* The frontend called, if the address is ours for this caller. */
static __always_inline lb_frontend sock_find(struct bpf_sock_addr *ctx, bool v6,
					     struct scratch *scratch)
{
	struct peer_name name = sock_name(ctx, v6);

	/* To connect and sendto the unspecified address is loopback too. */
	if (!address_is_loopback(name.address) && !address_is_unspecified(name.address)) {
		if (!lb_may_be_ours(scratch, name.address))
			return 0;
		name = sock_name(ctx, v6);
		return lb_find(scratch, name.address, name.port, READ_ONCE(ctx->protocol));
	}
	if (!localhost_node_ports || !sock_in_host(ctx))
		return 0;
	name = sock_name(ctx, v6);
	lb_key(scratch, address_wildcard(name.address), name.port, READ_ONCE(ctx->protocol));
	return lb_row(scratch);
}

static __always_inline struct lb_choice sock_choose(struct bpf_sock_addr *ctx,
						    struct scratch *scratch, lb_frontend frontend)
{
	struct lb_client client = {.kind = AFFINITY_NETNS};
	struct service *service;

	if (LB_FLAGS(frontend) & FRONTEND_ANY_PORT)
		return (struct lb_choice){.verdict = LB_REJECT};
	service = scratch_element(scratch, &pt_services, LB_SERVICE(frontend));
	if (!service)
		return (struct lb_choice){.verdict = LB_REJECT};
	if (!READ_ONCE(service->affinity_sec))
		return lb_choose(scratch, frontend, service);
	client.address.high = bpf_get_netns_cookie(ctx);
	return lb_choose_for(scratch, frontend, service, client);
}

/* Records what a TCP socket calls and what it gets. */
static __always_inline void sock_record(struct bpf_sock_addr *ctx, bool v6, struct scratch *scratch,
					const struct backend *backend, __u32 id)
{
	struct socket_record *record = record_claim(scratch, sock_owner(ctx));

	if (!record)
		return;
	record_fill(record, sock_name(ctx, v6), backend, id);
	record->proto = IPPROTO_TCP;
	record->flags = SOCKET_COUNTED;
	record_publish(scratch, record);
}

/* Refuses with an errno that applications understand, or, before 5.18, not at all. */
static __always_inline int sock_reject(struct scratch *scratch, enum stat_reason reason)
{
	stat_count(scratch, reason);
	if (!have_set_retval)
		return SOCK_ALLOW;
	bpf_set_retval(-ECONNREFUSED);
	return SOCK_REFUSE;
}

/* UDP: a connect() makes what the one before recorded history, but for the choice. */
static __always_inline void sock_disconnect(struct bpf_sock_addr *ctx, struct scratch *scratch)
{
	struct socket_record *record = record_find(scratch, sock_owner(ctx));

	if (!record || record->flags & SOCKET_SENDTO)
		return;
	record->frontend_port = 0;
	record->flags |= SOCKET_SENDTO;
}

/* A call that goes where it was called to: UDP answers from there bear their own name again. */
static __always_inline int sock_leave(struct bpf_sock_addr *ctx, bool v6, struct scratch *scratch)
{
	struct socket_record *record;

	if (!sock_is_udp(ctx))
		return SOCK_ALLOW;
	record = record_find(scratch, sock_owner(ctx));
	if (!record)
		return SOCK_ALLOW;
	record_unname(record, sock_name(ctx, v6));
	if (record->flags & SOCKET_PEERS) {
		struct peer_name name = sock_name(ctx, v6);

		datagram_forget(ctx, &name);
	}
	return SOCK_ALLOW;
}

/* A call to nobody of ours, or that is to be left as it is. */
static __always_inline int sock_connect_as_called(struct bpf_sock_addr *ctx, bool v6,
						  struct scratch *scratch)
{
	if (sock_is_udp(ctx))
		sock_disconnect(ctx, scratch);
	return sock_leave(ctx, v6, scratch);
}

static __always_inline int sock_connect(struct bpf_sock_addr *ctx, bool v6)
{
	struct lb_choice choice = {.verdict = LB_NONE};
	struct scratch scratch;
	struct backend *backend;
	lb_frontend frontend;

	if (READ_ONCE(ctx->protocol) == IPPROTO_TCP)
		record_drop(&scratch, sock_owner(ctx));
	else if (!sock_is_udp(ctx))
		return SOCK_ALLOW;
	frontend = sock_find(ctx, v6, &scratch);
	if (frontend && sock_is_outside(ctx, v6, false, frontend))
		choice.verdict = LB_DROP;
	else if (frontend)
		choice = sock_choose(ctx, &scratch, frontend);
	/* A UDP socket stays connected to whom it was. */
	if (choice.verdict == LB_REJECT)
		return sock_reject(&scratch, STAT_CONNECT_REJECT);
	if (choice.verdict == LB_DROP)
		stat_count(&scratch, STAT_CONNECT_DROP);
	else if (choice.verdict != LB_FORWARD ||
		 sock_is_stuck(&scratch, sock_source(ctx, v6, false), choice.id))
		return sock_connect_as_called(ctx, v6, &scratch);
	if (sock_is_udp(ctx)) {
		struct peer_name name = sock_name(ctx, v6);

		/* Also of what is dropped: a UDP socket would stay there for ever. */
		datagram_record(ctx, &name, choice.id, 0);
	}
	if (!choice.id)
		return SOCK_ALLOW;
	backend = lb_backend(&scratch, choice.id);
	if (!backend)
		return SOCK_ALLOW;
	if (!sock_is_udp(ctx))
		sock_record(ctx, v6, &scratch, backend, choice.id);
	sock_rename(ctx, v6, sock_backend_name(backend));
	stat_count(&scratch, STAT_CONNECT);
	return SOCK_ALLOW;
}

/* The backend for a datagram: that of the one before, or a new one. */
static __always_inline struct lb_choice
sock_choose_sticky(struct bpf_sock_addr *ctx, struct scratch *scratch, lb_frontend frontend)
{
	struct lb_choice choice = {.verdict = LB_FORWARD};

	choice.id = datagram_find(ctx, LB_SERVICE(frontend));
	if (!choice.id)
		choice = sock_choose(ctx, scratch, frontend);
	return choice;
}

/*
 * The steady state: the frontend that the record names, whose backend still serves.
 * While it names one, pt_udp_peers has no row for that backend.
 */
static __always_inline bool sock_repeat(struct bpf_sock_addr *ctx, bool v6, struct scratch *scratch,
					lb_frontend frontend)
{
	struct socket_record *record = record_find(scratch, sock_owner(ctx));
	struct peer_name name;

	if (!record || !(record->flags & SOCKET_SENDTO) ||
	    record->service_id != LB_SERVICE(frontend) ||
	    !record_calls(record, sock_name(ctx, v6)) ||
	    !lb_is_known(scratch, record->backend_id, record->generation, LB_SERVICE(frontend),
			 BACKEND_SERVING) ||
	    address_is_loopback(sock_source(ctx, v6, true)))
		return false;
	name.address = address_load(record->backend_addr);
	name.port = record->backend_port;
	sock_rename(ctx, v6, name);
	return true;
}

/*
 * Does a datagram go to the very address that its socket is connected to? The socket
 * takes answers from nowhere else. (On an AF_INET6 socket with an IPv4 peer, Linux makes
 * a sendto() of each send().)
 */
static __always_inline bool sock_is_at(struct bpf_sock_addr *ctx, bool v6)
{
	struct peer_name name = sock_name(ctx, v6);
	struct bpf_sock *sk = ctx->sk;
	struct address peer;

	if (!sock_is_connected(ctx) || bpf_ntohs(sk->dst_port) != name.port)
		return false;
	peer = v6 ? sock_address_of(sk->dst_ip6[0], sk->dst_ip6[1], sk->dst_ip6[2], sk->dst_ip6[3])
		  : address_of_v4(sk->dst_ip4);
	return address_equal(peer, name.address);
}

static __always_inline int sock_sendmsg(struct bpf_sock_addr *ctx, bool v6)
{
	struct scratch scratch;
	struct peer_name name;
	struct lb_choice choice;
	struct backend *backend;
	lb_frontend frontend;

	if (!sock_is_udp(ctx))
		return SOCK_ALLOW;
	frontend = sock_find(ctx, v6, &scratch);
	if (!frontend)
		return sock_leave(ctx, v6, &scratch);
	if (sock_is_outside(ctx, v6, true, frontend)) {
		stat_count(&scratch, STAT_SENDMSG_DROP);
		return SOCK_ALLOW;
	}
	if (sock_repeat(ctx, v6, &scratch, frontend)) {
		stat_count(&scratch, STAT_SENDMSG);
		return SOCK_ALLOW;
	}
	if (sock_is_at(ctx, v6))
		return SOCK_ALLOW;
	choice = sock_choose_sticky(ctx, &scratch, frontend);
	if (choice.verdict == LB_REJECT)
		return sock_reject(&scratch, STAT_SENDMSG_REJECT);
	if (choice.verdict == LB_DROP)
		stat_count(&scratch, STAT_SENDMSG_DROP);
	if (choice.verdict != LB_FORWARD ||
	    sock_is_stuck(&scratch, sock_source(ctx, v6, true), choice.id))
		return SOCK_ALLOW;
	name = sock_name(ctx, v6);
	datagram_keep(ctx, &name, choice.id, LB_SERVICE(frontend));
	backend = lb_backend(&scratch, choice.id);
	if (!backend)
		return SOCK_ALLOW;
	sock_rename(ctx, v6, sock_backend_name(backend));
	stat_count(&scratch, STAT_SENDMSG);
	return SOCK_ALLOW;
}

/* Puts the frontend in place of the backend that the record stands for. */
static __always_inline bool sock_show(struct bpf_sock_addr *ctx, bool v6,
				      const struct socket_record *record)
{
	struct peer_name name;

	if (!record_answers(record, sock_name(ctx, v6)))
		return false;
	name.address = address_load(record->frontend_addr);
	name.port = record->frontend_port;
	sock_rename(ctx, v6, name);
	return true;
}

static __always_inline int sock_recvmsg(struct bpf_sock_addr *ctx, bool v6)
{
	struct socket_record *record;
	struct scratch scratch;

	record = record_find(&scratch, sock_owner(ctx));
	if (!record)
		return SOCK_ALLOW;
	if (record->flags & SOCKET_PEERS) {
		struct peer_name name = sock_name(ctx, v6);

		if (datagram_answer(ctx, &name)) {
			sock_rename(ctx, v6, name);
			stat_count(&scratch, STAT_RECVMSG);
			return SOCK_ALLOW;
		}
	}
	if ((record->flags & SOCKET_SENDTO || sock_is_connected(ctx)) && sock_show(ctx, v6, record))
		stat_count(&scratch, STAT_RECVMSG);
	return SOCK_ALLOW;
}

static __always_inline int sock_getpeername(struct bpf_sock_addr *ctx, bool v6)
{
	struct socket_record *record;
	struct scratch scratch;

	if (sock_is_udp(ctx) && !sock_is_connected(ctx))
		return SOCK_ALLOW;
	record = record_find(&scratch, sock_owner(ctx));
	if (record && !(record->flags & SOCKET_SENDTO) && sock_show(ctx, v6, record))
		stat_count(&scratch, STAT_PEERNAME);
	return SOCK_ALLOW;
}

static __always_inline int sock_post_bind(struct bpf_sock *ctx, struct address address)
{
	__u8 proto = ctx->protocol;
	struct scratch scratch;

	if (!bind_guard || (ctx->protocol != IPPROTO_TCP && ctx->protocol != IPPROTO_UDP) ||
	    !sock_in_host(ctx) || !bind_is_guarded(&scratch, address, ctx->src_port, proto))
		return SOCK_ALLOW;
	stat_count(&scratch, STAT_BIND_REFUSED);
	if (have_set_retval)
		bpf_set_retval(-EADDRINUSE);
	return SOCK_REFUSE;
}

SEC("cgroup/connect4")
int pt_connect4(struct bpf_sock_addr *ctx)
{
	return sock_connect(ctx, false);
}

SEC("cgroup/connect6")
int pt_connect6(struct bpf_sock_addr *ctx)
{
	return sock_connect(ctx, true);
}

SEC("cgroup/sendmsg4")
int pt_sendmsg4(struct bpf_sock_addr *ctx)
{
	return sock_sendmsg(ctx, false);
}

SEC("cgroup/sendmsg6")
int pt_sendmsg6(struct bpf_sock_addr *ctx)
{
	return sock_sendmsg(ctx, true);
}

SEC("cgroup/recvmsg4")
int pt_recvmsg4(struct bpf_sock_addr *ctx)
{
	return sock_recvmsg(ctx, false);
}

SEC("cgroup/recvmsg6")
int pt_recvmsg6(struct bpf_sock_addr *ctx)
{
	return sock_recvmsg(ctx, true);
}

SEC("cgroup/getpeername4")
int pt_getpeername4(struct bpf_sock_addr *ctx)
{
	return sock_getpeername(ctx, false);
}

SEC("cgroup/getpeername6")
int pt_getpeername6(struct bpf_sock_addr *ctx)
{
	return sock_getpeername(ctx, true);
}

SEC("cgroup/post_bind4")
int pt_post_bind4(struct bpf_sock *ctx)
{
	return sock_post_bind(ctx, address_of_v4(ctx->src_ip4));
}

SEC("cgroup/post_bind6")
int pt_post_bind6(struct bpf_sock *ctx)
{
	return sock_post_bind(ctx, sock_address_of(ctx->src_ip6[0], ctx->src_ip6[1],
						   ctx->src_ip6[2], ctx->src_ip6[3]));
}

SEC("cgroup/sock_release")
int pt_sock_release(struct bpf_sock *ctx)
{
	struct record_owner owner = {ctx, bpf_get_socket_cookie(ctx)};
	struct scratch scratch;

	record_drop(&scratch, owner);
	return SOCK_ALLOW;
}
