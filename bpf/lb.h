/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Load balancing: is this address and port ours, and which backend answers?
 *
 *   frontend row -> service -> affinity, or: extent word -> slot -> backend
 *
 * One or two hash lookups and a few array loads, whatever the number of
 * endpoints. Knows neither sockets nor packets.
 *
 * The agent replaces words under us, so each is read once; it reuses memory only
 * after an RCU grace period, so a backend found stays what it is, but for its
 * flags, until the program ends.
 */
#ifndef PORTOLAN_LB_H
#define PORTOLAN_LB_H

#include "address.h"
#include "check.h"
#include "maps.h"
#include "scratch.h"
#include "stats.h"

#define LB_NSEC_PER_SEC	    1000000000ULL
#define LB_AFFINITY_STEP_NS (LB_NSEC_PER_SEC / 16)

enum lb_verdict {
	LB_NONE,    /* nothing of ours: leave it alone */
	LB_FORWARD, /* to the backend found */
	LB_REJECT,  /* ours, and nobody to answer */
	LB_DROP,    /* ours, and not for this caller */
};

/* A frontend row, as the one word it is read as; 0: none. */
typedef __u64 lb_frontend;
#define LB_SERVICE(frontend) ((__u32)(frontend))
#define LB_FLAGS(frontend)   ((__u32)((frontend) >> 32)) /* enum frontend_flags */

/* A choice is a verdict, and for LB_FORWARD the backend's id. */
struct lb_choice {
	enum lb_verdict verdict;
	__u32 id;
};

/* Who calls, for affinity. */
struct lb_client {
	struct address address; /* a netns cookie stands in .high */
	enum affinity_client kind;
};

static __always_inline void lb_key_port(struct scratch *scratch, __u16 port, __u8 proto)
{
	typedef __u32 __attribute__((__may_alias__)) port_and_proto;

	*(port_and_proto *)&scratch->key.port = port | (__u32)proto << 16;
}

static __always_inline void lb_key(struct scratch *scratch, struct address address, __u16 port,
				   __u8 proto)
{
	address_store(scratch->key.addr, address);
	lb_key_port(scratch, port, proto);
}

/* The row of the key in scratch. */
static __always_inline lb_frontend lb_row(struct scratch *scratch)
{
	struct frontend *row = bpf_map_lookup_elem(&pt_frontends, &scratch->key);

	return row ? *(const volatile address_half *)row : 0;
}

/* Is the address in scratch one of this node's that NodePorts answer on? */
static __always_inline bool lb_serves_node_ports(struct scratch *scratch)
{
	struct node_addr *row = bpf_map_lookup_elem(&pt_node_addrs, &scratch->key);

	return row && (READ_ONCE(row->flags) & NODE_ADDR_NODE_PORT);
}

/*
 * May the address be one of ours? Nearly every call to somewhere else ends here,
 * at the price of one array load. The halves are hashed as they lie in memory.
 */
static __always_inline bool lb_may_be_ours(struct scratch *scratch, struct address address)
{
	__u64 hash =
	    (address.low ^ (address.high >> 32 | address.high << 32)) * ADDRESS_BITS_MULTIPLIER;
	__u32 bit = hash >> (64 - ADDRESS_BITS_LOG2);
	struct address_bits *bits = scratch_element(scratch, &pt_address_bits, bit / 64);

	return bits && (READ_ONCE(bits->word) >> (bit % 64) & 1);
}

/*
 * The frontend of an address and port, for which lb_may_be_ours() is asked first:
 * apart from this, so that they need not be kept meanwhile. Not for loopback, nor for the
 * unspecified address, the key of the NodePort rows: what these mean depends on who asks.
 */
static __always_inline lb_frontend lb_find(struct scratch *scratch, struct address address,
					   __u16 port, __u8 proto)
{
	lb_frontend frontend;

	lb_key(scratch, address, port, proto);
	frontend = lb_row(scratch);
	if (frontend)
		return frontend;
	if (lb_serves_node_ports(scratch)) {
		address_store(scratch->key.addr, address_wildcard(address_load(scratch->key.addr)));
		return lb_row(scratch);
	}
	lb_key_port(scratch, 0, 0);
	frontend = lb_row(scratch);
	return LB_FLAGS(frontend) & FRONTEND_ANY_PORT ? frontend : 0;
}

/*
 * Backends are handed on by id and looked up where they are read: without
 * CAP_PERFMON, 6.1's verifier follows the second test of a pointer down the
 * branch that the first has ruled out.
 */
static __always_inline struct backend *lb_backend(struct scratch *scratch, __u32 id)
{
	return scratch_element(scratch, &pt_backends, id);
}

/* Does the backend belong to the service, and has it one of the flags wanted? */
static __always_inline bool lb_is_member(struct scratch *scratch, __u32 id, __u32 service_id,
					 __u32 flags)
{
	struct backend *backend = lb_backend(scratch, id);

	return backend && READ_ONCE(backend->service_id) == service_id &&
	       (READ_ONCE(backend->flags) & flags);
}

/* Is the backend an affinity or a socket had still the same, with one of the flags? */
static __always_inline bool lb_is_known(struct scratch *scratch, __u32 id, __u32 generation,
					__u32 service_id, __u32 flags)
{
	struct backend *backend = lb_backend(scratch, id);

	return backend && READ_ONCE(backend->service_id) == service_id &&
	       READ_ONCE(backend->generation) == generation && (READ_ONCE(backend->flags) & flags);
}

/*
 * The word of one of the service's extents. The barrier keeps clang from choosing
 * between their addresses: pointer arithmetic that takes CAP_PERFMON.
 */
static __always_inline __u64 lb_extent(const struct service *service, bool local)
{
	if (local) {
		asm volatile("");
		return READ_ONCE(service->local);
	}
	return READ_ONCE(service->cluster);
}

/* What the extent says before anything is picked. */
static __always_inline enum lb_verdict lb_policy(__u64 extent)
{
	if (EXTENT_ALGORITHM(extent) == ALGORITHM_DROP)
		return LB_DROP;
	if (EXTENT_ALGORITHM(extent) == ALGORITHM_REJECT || !EXTENT_COUNT(extent))
		return LB_REJECT;
	return LB_FORWARD;
}

/* A random slot's backend id. LEAST_CONN and MAGLEV extents are picked from at random too. */
static __always_inline __u32 lb_pick(struct scratch *scratch, __u64 extent)
{
	__u32 slot = EXTENT_BASE(extent);
	struct slot_page *page;

	/* A random number costs as much as two lookups. */
	if (EXTENT_COUNT(extent) > 1)
		slot += ((__u64)bpf_get_prandom_u32() * EXTENT_COUNT(extent)) >> 32;
	page = scratch_element(scratch, &pt_slots, slot / SLOTS_PER_PAGE);
	return page ? READ_ONCE(page->backend_id[slot % SLOTS_PER_PAGE]) : 0;
}

/* One more try, from the extent as it is now: the id of a member, or 0. */
static __always_inline __u32 lb_try_again(struct scratch *scratch, __u32 service_id, bool local)
{
	struct service *service = scratch_element(scratch, &pt_services, service_id);
	__u32 member = local ? BACKEND_LOCAL : BACKEND_CLUSTER;
	__u64 extent;
	__u32 id;

	stat_count(scratch, STAT_PICK_RETRY);
	if (!service)
		return 0;
	extent = lb_extent(service, local);
	if (lb_policy(extent) != LB_FORWARD)
		return 0;
	id = lb_pick(scratch, extent);
	return lb_is_member(scratch, id, service_id, member) ? id : 0;
}

/*
 * The first pick met a dead backend: its extent is just being replaced. A function
 * of its own, to keep its state out of every pick; no loop, since speculation
 * never sees one end.
 */
static __noinline __u32 lb_pick_again(__u32 service_id, __u32 local)
{
	struct scratch scratch;
	__u32 id = lb_try_again(&scratch, service_id, local);

	if (!id)
		id = lb_try_again(&scratch, service_id, local);
	if (!id)
		stat_count(&scratch, STAT_PICK_FAILED);
	return id;
}

/* A frontend that uses its service's local set; the flag that makes a backend a member. */
static __always_inline bool lb_is_local(lb_frontend frontend)
{
	return LB_FLAGS(frontend) & FRONTEND_INTERNAL_LOCAL;
}

_Static_assert(BACKEND_LOCAL == BACKEND_CLUSTER << 1, "lb_member");

/* By a shift: 6.1's verifier refuses to spill first one constant, then the other. */
static __always_inline __u32 lb_member(lb_frontend frontend)
{
	FORGET(frontend);
	return BACKEND_CLUSTER << (LB_FLAGS(frontend) / FRONTEND_INTERNAL_LOCAL & 1);
}

/* Chooses a backend for a new flow. */
static __always_inline struct lb_choice lb_choose(struct scratch *scratch, lb_frontend frontend,
						  const struct service *service)
{
	__u64 extent = lb_extent(service, lb_is_local(frontend));
	struct lb_choice choice = {.verdict = lb_policy(extent)};

	if (choice.verdict != LB_FORWARD)
		return choice;
	choice.id = lb_pick(scratch, extent);
	FORGET(frontend); /* what is taken from it is not kept over the pick */
	if (!lb_is_member(scratch, choice.id, LB_SERVICE(frontend), lb_member(frontend)))
		choice.id = lb_pick_again(LB_SERVICE(frontend), lb_is_local(frontend));
	if (!choice.id)
		choice.verdict = LB_REJECT;
	return choice;
}

static __always_inline void lb_affinity_key(struct affinity_key *key, lb_frontend frontend,
					    struct lb_client client)
{
	address_store(key->client, client.address);
	*(address_half *)&key->service_id = LB_SERVICE(frontend) | (__u64)client.kind << 32;
}

static __always_inline __u64 lb_affinity_check(const struct affinity_key *key, __u32 backend_id,
					       __u32 generation)
{
	struct address client = address_load(key->client);
	__u64 hash = check_add(client.high, client.low);

	hash = check_add(hash, (__u64)key->service_id << 32 | key->kind);
	return check_add(hash, (__u64)backend_id << 32 | generation);
}

/* The backend this client had, if it may still be chosen; its time starts anew. */
static __always_inline struct lb_choice lb_find_affinity(struct scratch *scratch,
							 const struct affinity_key *key,
							 lb_frontend frontend,
							 const struct service *service)
{
	__u64 now = bpf_ktime_get_coarse_ns();
	struct affinity *row = bpf_map_lookup_elem(&pt_affinity, key);
	struct lb_choice choice = {.verdict = LB_NONE};
	__u32 generation;
	__u64 expires;

	if (!row)
		return choice;
	choice.id = READ_ONCE(row->backend_id);
	generation = READ_ONCE(row->generation);
	expires = READ_ONCE(row->expires_ns);
	if (expires <= now ||
	    READ_ONCE(row->check) != lb_affinity_check(key, choice.id, generation))
		return choice;
	now += READ_ONCE(service->affinity_sec) * LB_NSEC_PER_SEC;
	/* Only where it was seen: by now the element may be another row's. */
	if (now - expires > LB_AFFINITY_STEP_NS)
		__sync_val_compare_and_swap(&row->expires_ns, expires, now);
	if (lb_is_known(scratch, choice.id, generation, LB_SERVICE(frontend), lb_member(frontend)))
		choice.verdict = LB_FORWARD;
	return choice;
}

static __always_inline void lb_store_affinity(struct scratch *scratch,
					      const struct affinity_key *key, __u32 id,
					      __u32 timeout_sec)
{
	struct backend *backend = lb_backend(scratch, id);
	struct affinity row __attribute__((aligned(8)));
	__u32 generation;

	if (!backend)
		return;
	generation = READ_ONCE(backend->generation);
	row.expires_ns = bpf_ktime_get_coarse_ns() + timeout_sec * LB_NSEC_PER_SEC;
	/* One store: 6.1's verifier refuses a second one into half of a spilled word. */
	*(address_half *)&row.backend_id = id | (__u64)generation << 32;
	row.check = lb_affinity_check(key, id, generation);
	bpf_map_update_elem(&pt_affinity, key, &row, BPF_ANY);
}

/* Chooses for a service with affinity: the client's backend of last time, or a new one. */
static __always_inline struct lb_choice lb_choose_for(struct scratch *scratch, lb_frontend frontend,
						      const struct service *service,
						      struct lb_client client)
{
	__u64 extent = lb_extent(service, lb_is_local(frontend));
	struct affinity_key key __attribute__((aligned(8)));
	struct lb_choice choice = {.verdict = lb_policy(extent)};

	/* Policy first: an affinity counts only within a set that may be used. */
	if (choice.verdict != LB_FORWARD)
		return choice;
	lb_affinity_key(&key, frontend, client);
	choice = lb_find_affinity(scratch, &key, frontend, service);
	if (choice.verdict == LB_FORWARD) {
		stat_count(scratch, STAT_AFFINITY_HIT);
		return choice;
	}
	choice = lb_choose(scratch, frontend, service);
	if (choice.verdict == LB_FORWARD) {
		lb_store_affinity(scratch, &key, choice.id, READ_ONCE(service->affinity_sec));
		stat_count(scratch, STAT_AFFINITY_NEW);
	}
	return choice;
}

#endif
