/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What a UDP socket keeps between its calls. Its record stands for its connect(),
 * or for the Service that it calls by sendto(); further Services have rows in
 * pt_udp_peers, and SOCKET_PEERS in the record says that there are any. The last
 * call to a backend decides which name its answers bear.
 *
 * Functions of their own: rarely run, and the registers they spill are not those
 * of the way of every datagram. Names are handed on by address.
 */
#ifndef PORTOLAN_DATAGRAM_H
#define PORTOLAN_DATAGRAM_H

#include "peers.h"
#include "record.h"

static __always_inline struct record_owner sock_owner(struct bpf_sock_addr *ctx)
{
	return (struct record_owner){ctx->sk, bpf_get_socket_cookie(ctx)};
}

/* UDP: after connect(AF_UNSPEC) no hook runs, the record stays and the state says CLOSE. */
static __always_inline bool sock_is_connected(struct bpf_sock_addr *ctx)
{
	return ctx->sk->state == BPF_TCP_ESTABLISHED;
}

/* From now on this address answers for itself, as far as pt_udp_peers is concerned. */
static __noinline int datagram_forget(struct bpf_sock_addr *ctx, const struct peer_name *name)
{
	struct udp_peer_key key = {.cookie = bpf_get_socket_cookie(ctx)};

	peer_answer_key(&key, *name);
	peer_forget_answer(&key);
	return 0;
}

/* Which frontend do answers from this address stand for in pt_udp_peers? Then name becomes that. */
static __noinline int datagram_answer(struct bpf_sock_addr *ctx, struct peer_name *name)
{
	struct udp_peer_key key = {.cookie = bpf_get_socket_cookie(ctx)};

	peer_answer_key(&key, *name);
	return peer_find_answer(&key, name);
}

/*
 * Makes the record that of a call to the frontend named, and of its backend; id 0: of
 * itself. Global: verified once, and not for each way that leads here.
 */
__noinline int datagram_record(struct bpf_sock_addr *ctx, const struct peer_name *name, __u32 id,
			       __u32 flags)
{
	struct record_owner owner = sock_owner(ctx);
	struct scratch scratch;
	struct backend *backend = lb_backend(&scratch, id);
	struct socket_record *record;

	if (!backend || !name)
		return 0;
	record = record_find(&scratch, owner);
	if (record) {
		record_reopen(record);
	} else {
		record = record_claim(&scratch, owner);
		if (!record)
			return 0;
		record->flags = 0;
	}
	record_fill(record, *name, backend, id);
	if (!id) {
		address_store(record->backend_addr, name->address);
		record->backend_port = name->port;
	}
	record->proto = IPPROTO_UDP;
	record->flags = flags | (record->flags & SOCKET_PEERS);
	record_publish(&scratch, record);
	if (record->flags & SOCKET_PEERS) {
		struct udp_peer_key key = {.cookie = bpf_get_socket_cookie(ctx)};

		peer_answer_key(&key, (struct peer_name){address_load(record->backend_addr),
							 record->backend_port});
		peer_forget_answer(&key);
	}
	return 0;
}

/* The backend this socket keeps for the service, while that serves; else 0. */
static __noinline __u32 datagram_find(struct bpf_sock_addr *ctx, __u32 service_id)
{
	struct record_owner owner = sock_owner(ctx);
	struct scratch scratch;
	struct socket_record *record = record_find(&scratch, owner);
	struct udp_peer_key key;
	struct lb_choice choice;

	if (!record)
		return 0;
	if (record->service_id == service_id) {
		choice.id = record->backend_id;
		return lb_is_known(&scratch, choice.id, record->generation, service_id,
				   BACKEND_SERVING)
			   ? choice.id
			   : 0;
	}
	if (!(record->flags & SOCKET_PEERS))
		return 0;
	key.cookie = bpf_get_socket_cookie(ctx);
	peer_sticky_key(&key, service_id);
	choice = peer_find_sticky(&scratch, &key);
	return choice.verdict == LB_FORWARD ? choice.id : 0;
}

/* Keeps the backend for the service, and the name that its answers shall bear. */
static __noinline int datagram_keep(struct bpf_sock_addr *ctx, const struct peer_name *name,
				    __u32 id, __u32 service_id)
{
	struct record_owner owner = sock_owner(ctx);
	struct scratch scratch;
	struct backend *backend;
	struct socket_record *record = record_find(&scratch, owner);
	struct udp_peer_key key = {.cookie = owner.cookie};

	if (!record)
		return datagram_record(ctx, name, id, SOCKET_SENDTO);
	if (record->flags & SOCKET_SENDTO ? record->service_id == service_id
					  : !sock_is_connected(ctx))
		return datagram_record(ctx, name, id, SOCKET_SENDTO);
	if (!(record->flags & SOCKET_PEERS) && record->backend_id == id &&
	    record->service_id == service_id && record_calls(record, *name))
		return 0;
	record->flags |= SOCKET_PEERS;
	if (record->service_id != service_id) {
		peer_sticky_key(&key, service_id);
		peer_keep_sticky(&scratch, &key, id);
	}
	backend = lb_backend(&scratch, id);
	if (!backend)
		return 0;
	peer_answer_key(&key, (struct peer_name){address_load(backend->addr), backend->port});
	peer_keep_answer(&key, *name, id, READ_ONCE(backend->generation));
	/* One of them names the backend, never both. */
	record_unname(record, (struct peer_name){address_load(backend->addr), backend->port});
	return 0;
}

#endif
