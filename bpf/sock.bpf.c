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
#include "config.h"
#include "lb.h"
#include "peers.h"
#include "record.h"

char sock_license[] SEC("license") = "Dual BSD/GPL";

/* What hooks return. */
#define SOCK_ALLOW  1
#define SOCK_REFUSE 0

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

static __always_inline struct record_owner sock_owner(struct bpf_sock_addr *ctx)
{
	return (struct record_owner){ctx->sk, bpf_get_socket_cookie(ctx)};
}

static __always_inline bool sock_in_host(void *ctx)
{
	return bpf_get_netns_cookie(ctx) == host_netns_cookie;
}

static __always_inline bool sock_is_udp(struct bpf_sock_addr *ctx)
{
	return READ_ONCE(ctx->protocol) == IPPROTO_UDP;
}

/* UDP: after connect(AF_UNSPEC) no hook runs, the record stays and the state says CLOSE. */
static __always_inline bool sock_is_connected(struct bpf_sock_addr *ctx)
{
	return ctx->sk->state == BPF_TCP_ESTABLISHED;
}

/* The frontend called, if the address is ours for this caller. */
static __always_inline lb_frontend sock_find(struct bpf_sock_addr *ctx, bool v6,
					     struct scratch *scratch)
{
	struct peer_name name = sock_name(ctx, v6);
	__u8 proto = READ_ONCE(ctx->protocol);

	/* To connect and sendto the unspecified address is loopback too. */
	if (!address_is_loopback(name.address) && !address_is_unspecified(name.address))
		return lb_find(scratch, name.address, name.port, proto);
	if (!localhost_node_ports || !sock_in_host(ctx))
		return 0;
	name = sock_name(ctx, v6);
	lb_key(scratch, address_wildcard(name.address), name.port, proto);
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

/* Records what is called and what it gets. */
static __always_inline void sock_record(struct bpf_sock_addr *ctx, bool v6, struct scratch *scratch,
					const struct backend *backend, __u32 id)
{
	struct socket_record *record = record_claim(scratch, sock_owner(ctx));
	struct peer_name name;

	if (!record)
		return;
	name = sock_name(ctx, v6);
	address_store(record->frontend_addr, name.address);
	record->frontend_port = name.port;
	record_fill(record, backend, id, READ_ONCE(ctx->protocol));
	record_publish(scratch, record);
}

/* What an earlier sendto() called by this peer's address is history. */
static __always_inline void sock_forget_answer(struct bpf_sock_addr *ctx, struct peer_name peer)
{
	struct udp_peer_key key = {.cookie = bpf_get_socket_cookie(ctx)};

	peer_answer_key(&key, peer);
	peer_forget_answer(&key);
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

/* A connect() that goes where it was called to. */
static __always_inline int sock_leave(struct bpf_sock_addr *ctx, bool v6)
{
	if (sock_is_udp(ctx))
		sock_forget_answer(ctx, sock_name(ctx, v6));
	return SOCK_ALLOW;
}

static __always_inline int sock_connect(struct bpf_sock_addr *ctx, bool v6)
{
	struct lb_choice choice = {.verdict = LB_NONE};
	struct scratch scratch;
	struct backend *backend;
	lb_frontend frontend;

	if (READ_ONCE(ctx->protocol) != IPPROTO_TCP && !sock_is_udp(ctx))
		return SOCK_ALLOW;
	record_drop(&scratch, sock_owner(ctx));
	frontend = sock_find(ctx, v6, &scratch);
	if (frontend)
		choice = sock_choose(ctx, &scratch, frontend);
	if (choice.verdict == LB_REJECT)
		return sock_reject(&scratch, STAT_CONNECT_REJECT);
	if (choice.verdict == LB_DROP)
		stat_count(&scratch, STAT_CONNECT_DROP);
	if (choice.verdict != LB_FORWARD)
		return sock_leave(ctx, v6);
	if (sock_is_stuck(&scratch, sock_source(ctx, v6, false), choice.id))
		return sock_leave(ctx, v6);
	backend = lb_backend(&scratch, choice.id);
	if (!backend)
		return SOCK_ALLOW;
	if (sock_is_udp(ctx))
		sock_forget_answer(ctx, sock_backend_name(backend));
	sock_record(ctx, v6, &scratch, backend, choice.id);
	sock_rename(ctx, v6, sock_backend_name(backend));
	stat_count(&scratch, STAT_CONNECT);
	return SOCK_ALLOW;
}

/* A connected socket that names its Service in sendto() keeps its peer. */
static __always_inline struct lb_choice
sock_find_peer(struct bpf_sock_addr *ctx, struct scratch *scratch, lb_frontend frontend)
{
	struct lb_choice choice = {.verdict = LB_NONE};
	struct socket_record *record;

	if (!sock_is_connected(ctx))
		return choice;
	record = record_find(scratch, sock_owner(ctx));
	if (!record || record->service_id != LB_SERVICE(frontend))
		return choice;
	choice.id = record->backend_id;
	if (lb_is_known(scratch, choice.id, record->generation, LB_SERVICE(frontend),
			BACKEND_SERVING))
		choice.verdict = LB_FORWARD;
	return choice;
}

/* The backend for a datagram: that of the one before, or a new one, from now on kept. */
static __always_inline struct lb_choice sock_choose_sticky(struct bpf_sock_addr *ctx,
							   struct scratch *scratch,
							   struct udp_peer_key *key,
							   lb_frontend frontend)
{
	struct lb_choice choice = sock_find_peer(ctx, scratch, frontend);

	if (choice.verdict == LB_FORWARD)
		return choice;
	peer_sticky_key(key, LB_SERVICE(frontend));
	choice = peer_find_sticky(scratch, key);
	if (choice.verdict == LB_FORWARD)
		return choice;
	choice = sock_choose(ctx, scratch, frontend);
	if (choice.verdict == LB_FORWARD)
		peer_keep_sticky(scratch, key, choice.id);
	return choice;
}

static __always_inline int sock_sendmsg(struct bpf_sock_addr *ctx, bool v6)
{
	struct scratch scratch;
	struct udp_peer_key key;
	struct lb_choice choice;
	struct backend *backend;
	lb_frontend frontend;

	if (!sock_is_udp(ctx))
		return SOCK_ALLOW;
	frontend = sock_find(ctx, v6, &scratch);
	if (!frontend) {
		sock_forget_answer(ctx, sock_name(ctx, v6));
		return SOCK_ALLOW;
	}
	key.cookie = bpf_get_socket_cookie(ctx);
	choice = sock_choose_sticky(ctx, &scratch, &key, frontend);
	if (choice.verdict == LB_REJECT)
		return sock_reject(&scratch, STAT_SENDMSG_REJECT);
	if (choice.verdict == LB_DROP)
		stat_count(&scratch, STAT_SENDMSG_DROP);
	if (choice.verdict != LB_FORWARD)
		return SOCK_ALLOW;
	if (sock_is_stuck(&scratch, sock_source(ctx, v6, true), choice.id))
		return SOCK_ALLOW;
	backend = lb_backend(&scratch, choice.id);
	if (!backend)
		return SOCK_ALLOW;
	peer_answer_key(&key, sock_backend_name(backend));
	peer_keep_answer(&key, sock_name(ctx, v6), choice.id, READ_ONCE(backend->generation));
	sock_rename(ctx, v6, sock_backend_name(backend));
	stat_count(&scratch, STAT_SENDMSG);
	return SOCK_ALLOW;
}

/* Shows the frontend in place of the backend that the socket's record stands for. */
static __always_inline bool sock_show_record(struct bpf_sock_addr *ctx, bool v6,
					     struct scratch *scratch)
{
	struct socket_record *record;
	struct peer_name name;

	if (sock_is_udp(ctx) && !sock_is_connected(ctx))
		return false;
	record = record_find(scratch, sock_owner(ctx));
	if (!record)
		return false;
	name = sock_name(ctx, v6);
	if (!record_answers(record, name.address, name.port))
		return false;
	name.address = address_load(record->frontend_addr);
	name.port = record->frontend_port;
	sock_rename(ctx, v6, name);
	return true;
}

static __always_inline int sock_recvmsg(struct bpf_sock_addr *ctx, bool v6)
{
	struct udp_peer_key key = {.cookie = bpf_get_socket_cookie(ctx)};
	struct scratch scratch;
	struct peer_name name;

	peer_answer_key(&key, sock_name(ctx, v6));
	if (peer_find_answer(&key, &name))
		sock_rename(ctx, v6, name);
	else if (!sock_show_record(ctx, v6, &scratch))
		return SOCK_ALLOW;
	stat_count(&scratch, STAT_RECVMSG);
	return SOCK_ALLOW;
}

static __always_inline int sock_getpeername(struct bpf_sock_addr *ctx, bool v6)
{
	struct scratch scratch;

	if (sock_show_record(ctx, v6, &scratch))
		stat_count(&scratch, STAT_PEERNAME);
	return SOCK_ALLOW;
}

static __always_inline bool sock_row_is_guarded(struct scratch *scratch)
{
	return LB_FLAGS(lb_row(scratch)) & FRONTEND_BIND_GUARD;
}

/* Would a socket bound here take a NodePort, or an external frontend, from its Service? */
static __always_inline bool sock_is_guarded(struct scratch *scratch, struct address address,
					    __u16 port, __u8 proto)
{
	lb_key(scratch, address, port, proto);
	if (sock_row_is_guarded(scratch)) /* an exact frontend or, for a wildcard, a NodePort */
		return true;
	if (!address_is_unspecified(address) && lb_serves_node_ports(scratch)) {
		lb_key(scratch, address_wildcard(address), port, proto);
		return sock_row_is_guarded(scratch);
	}
	/* :: takes IPv4 along. IPV6_V6ONLY, which prevents that, cannot be read here. */
	if (address.high || address.low)
		return false;
	lb_key(scratch, address_of_v4(0), port, proto);
	return sock_row_is_guarded(scratch);
}

static __always_inline int sock_post_bind(struct bpf_sock *ctx, struct address address)
{
	__u8 proto = ctx->protocol;
	struct scratch scratch;

	if (!bind_guard || (ctx->protocol != IPPROTO_TCP && ctx->protocol != IPPROTO_UDP) ||
	    !sock_in_host(ctx) || !sock_is_guarded(&scratch, address, ctx->src_port, proto))
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
