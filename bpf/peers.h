/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What UDP sockets talk to beside what their record says (pt_udp_peers): the
 * frontend that a backend's answers stand for, and the backend that a socket keeps
 * for a service.
 * Rows are written only when they change: a steady flow of datagrams writes nothing.
 */
#ifndef PORTOLAN_PEERS_H
#define PORTOLAN_PEERS_H

#include "lb.h"

static __always_inline __u32 peer_check(const struct udp_peer_key *key, struct peer_name name,
					__u32 backend_id, __u32 generation)
{
	struct address backend = address_load(key->addr);
	__u64 hash = check_add(key->cookie, backend.high);

	hash = check_add(hash, backend.low);
	hash = check_add(hash, (__u64)key->service_id << 32 | (__u32)key->port << 16 | name.port);
	hash = check_add(hash, name.address.high);
	hash = check_add(hash, name.address.low);
	return check_add(hash, (__u64)backend_id << 32 | generation) >> 32;
}

static __always_inline void peer_store(const struct udp_peer_key *key, struct peer_name name,
				       __u32 backend_id, __u32 generation)
{
	struct udp_peer row __attribute__((aligned(8)));

	address_store(row.addr, name.address);
	/* Whole words: 6.1's verifier refuses a store into half of a spilled one. */
	*(address_half *)&row.port = name.port | (__u64)backend_id << 32;
	*(address_half *)&row.generation =
	    generation | (__u64)peer_check(key, name, backend_id, generation) << 32;
	bpf_map_update_elem(&pt_udp_peers, key, &row, BPF_ANY);
}

/* Makes key that of the answers of this address and port; its cookie is the caller's. */
static __always_inline void peer_answer_key(struct udp_peer_key *key, struct peer_name backend)
{
	address_store(key->addr, backend.address);
	*(address_half *)&key->port = backend.port; /* and pad, service_id */
}

/* Which frontend do answers with this key stand for? */
static __always_inline bool peer_find_answer(const struct udp_peer_key *key, struct peer_name *name)
{
	struct udp_peer *row = bpf_map_lookup_elem(&pt_udp_peers, key);
	__u32 backend_id, generation;

	if (!row)
		return false;
	name->address = address_load(row->addr);
	name->port = READ_ONCE(row->port);
	backend_id = READ_ONCE(row->backend_id);
	generation = READ_ONCE(row->generation);
	return READ_ONCE(row->check) == peer_check(key, *name, backend_id, generation);
}

/* From now on the chosen backend's answers stand for the frontend named. */
static __always_inline void peer_keep_answer(const struct udp_peer_key *key, struct peer_name name,
					     __u32 backend_id, __u32 generation)
{
	struct udp_peer *row = bpf_map_lookup_elem(&pt_udp_peers, key);

	if (row && row->port == name.port && row->backend_id == backend_id &&
	    row->generation == generation && address_equal(address_load(row->addr), name.address))
		return;
	peer_store(key, name, backend_id, generation);
}

/* From now on the address in the key answers for itself. */
static __always_inline void peer_forget_answer(const struct udp_peer_key *key)
{
	/* Rarely there, and a lookup is much cheaper than a delete. */
	if (bpf_map_lookup_elem(&pt_udp_peers, key))
		bpf_map_delete_elem(&pt_udp_peers, key);
}

static __always_inline void peer_sticky_key(struct udp_peer_key *key, __u32 service_id)
{
	peer_answer_key(key, (struct peer_name){0});
	key->service_id = service_id;
}

/* The backend this socket keeps for the service, while that serves. */
static __always_inline struct lb_choice peer_find_sticky(struct scratch *scratch,
							 const struct udp_peer_key *key)
{
	struct udp_peer *row = bpf_map_lookup_elem(&pt_udp_peers, key);
	struct lb_choice choice = {.verdict = LB_NONE};
	__u32 generation;

	if (!row)
		return choice;
	choice.id = READ_ONCE(row->backend_id);
	generation = READ_ONCE(row->generation);
	if (READ_ONCE(row->check) != peer_check(key, (struct peer_name){0}, choice.id, generation))
		return choice;
	if (lb_is_known(scratch, choice.id, generation, key->service_id, BACKEND_SERVING))
		choice.verdict = LB_FORWARD;
	return choice;
}

static __always_inline void peer_keep_sticky(struct scratch *scratch,
					     const struct udp_peer_key *key, __u32 backend_id)
{
	struct udp_peer *row = bpf_map_lookup_elem(&pt_udp_peers, key);
	struct backend *backend = lb_backend(scratch, backend_id);

	if (!backend)
		return;
	if (row && row->backend_id == backend_id && row->generation == backend->generation)
		return;
	peer_store(key, (struct peer_name){0}, backend_id, READ_ONCE(backend->generation));
}

#endif
