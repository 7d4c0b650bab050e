/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Socket records: what a socket called, and what it got. They answer getpeername
 * and recvmsg, count open connections, and tell user space who is connected where;
 * what UDP sockets do with theirs is in datagram.h. A record lies in pt_sockets at
 * its cookie modulo the size; if another open socket sits there, in the socket's
 * own storage (pt_sockets_ovf).
 *
 * All hooks of one socket run under its lock: only claiming a slot races, with
 * other sockets. User space skips slots whose cookie has SOCKET_WRITING.
 */
#ifndef PORTOLAN_RECORD_H
#define PORTOLAN_RECORD_H

#include <linux/in.h>
#include "config.h"
#include "lb.h"

/* The socket a hook runs for: sk is ctx->sk, or the context itself in sock hooks. */
struct record_owner {
	void *sk;
	__u64 cookie;
};

static __always_inline void record_count(struct scratch *scratch, __u32 backend_id, __u64 change)
{
	struct active *active = scratch_element(scratch, &pt_active, backend_id);

	if (active)
		__sync_fetch_and_add(&active->connections, change);
}

/* The slot that the socket shares with others, whoever sits there. */
static __always_inline struct socket_record *record_slot(struct scratch *scratch, __u64 cookie)
{
	return scratch_element(scratch, &pt_sockets, cookie & sockets_mask);
}

/* The record in the socket's own storage, which is asked only if any socket has one. */
static __always_inline struct socket_record *record_stored(struct scratch *scratch,
							   struct record_owner owner)
{
	struct active *overflow = scratch_element(scratch, &pt_active, ACTIVE_OVERFLOW);
	struct socket_record *record;

	if (!overflow || !READ_ONCE(overflow->connections))
		return 0;
	record = bpf_sk_storage_get(&pt_sockets_ovf, owner.sk, 0, 0);
	return record && record->cookie == owner.cookie ? record : 0;
}

static __always_inline struct socket_record *record_find(struct scratch *scratch,
							 struct record_owner owner)
{
	struct socket_record *record = record_slot(scratch, owner.cookie);

	if (record && READ_ONCE(record->cookie) == owner.cookie)
		return record;
	return record_stored(scratch, owner);
}

/* Takes the connection off its backend's count, unless the id has been retired since. */
static __always_inline void record_uncount(struct scratch *scratch, struct socket_record *record)
{
	struct backend *backend = scratch_element(scratch, &pt_backends, record->backend_id);

	if (backend && READ_ONCE(backend->generation) == record->generation)
		record_count(scratch, record->backend_id, -1);
}

static __always_inline void record_free(struct scratch *scratch, struct socket_record *record)
{
	if (record->flags & SOCKET_COUNTED)
		record_uncount(scratch, record);
	__sync_lock_test_and_set(&record->cookie, 0);
}

/* The socket is no longer what its record says: uncounts and frees it. */
static __always_inline void record_drop(struct scratch *scratch, struct record_owner owner)
{
	struct socket_record *record = record_slot(scratch, owner.cookie);

	if (record && READ_ONCE(record->cookie) == owner.cookie) {
		record_free(scratch, record);
		return;
	}
	record = record_stored(scratch, owner);
	if (!record)
		return;
	record_free(scratch, record);
	record_count(scratch, ACTIVE_OVERFLOW, -1);
}

/* A place for the socket's record, its cookie with SOCKET_WRITING; null: no memory. */
static __always_inline struct socket_record *record_claim(struct scratch *scratch,
							  struct record_owner owner)
{
	struct socket_record *record = record_slot(scratch, owner.cookie);

	owner.cookie |= SOCKET_WRITING;
	if (record && !__sync_val_compare_and_swap(&record->cookie, 0, owner.cookie))
		return record;
	record = bpf_sk_storage_get(&pt_sockets_ovf, owner.sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	/* Left at once: 6.1's verifier follows a second test of a null pointer down its impossible
	 * branch. */
	if (!record) {
		stat_count(scratch, STAT_RECORD_LOST);
		return 0;
	}
	record->cookie = owner.cookie;
	record_count(scratch, ACTIVE_OVERFLOW, 1);
	stat_count(scratch, STAT_RECORD_OVERFLOW);
	return record;
}

static __always_inline void record_fill(struct socket_record *record, struct peer_name frontend,
					const struct backend *backend, __u32 backend_id)
{
	address_store(record->frontend_addr, frontend.address);
	record->frontend_port = frontend.port;
	address_store(record->backend_addr, address_load(backend->addr));
	record->backend_port = backend->port;
	/* Odd if the id has just been retired: its counter is then no longer this record's. */
	record->generation = READ_ONCE(backend->generation) & ~1U;
	record->backend_id = backend_id;
	record->service_id = READ_ONCE(backend->service_id);
}

/* Takes a record back from its readers, to be filled anew. */
static __always_inline void record_reopen(struct socket_record *record)
{
	__sync_lock_test_and_set(&record->cookie, record->cookie | SOCKET_WRITING);
}

/* When all is written: from now on the record is found, and a TCP connection counts. */
static __always_inline void record_publish(struct scratch *scratch, struct socket_record *record)
{
	__u32 backend_id = record->backend_id;
	bool counted = record->flags & SOCKET_COUNTED;

	__sync_lock_test_and_set(&record->cookie, record->cookie & ~SOCKET_WRITING);
	if (counted)
		record_count(scratch, backend_id, 1);
}

/* Is this address and port the backend that the record gives another name? */
static __always_inline bool record_answers(const struct socket_record *record,
					   struct peer_name name)
{
	return record->backend_port == name.port && record->frontend_port &&
	       address_equal(address_load(record->backend_addr), name.address);
}

/* A record of sendto() no longer gives this address and port the frontend's name. */
static __always_inline void record_unname(struct socket_record *record, struct peer_name backend)
{
	if (record->flags & SOCKET_SENDTO && record_answers(record, backend))
		record->frontend_port = 0;
}

/* Was the backend called by this address and port? */
static __always_inline bool record_calls(const struct socket_record *record, struct peer_name name)
{
	return record->frontend_port == name.port &&
	       address_equal(address_load(record->frontend_addr), name.address);
}

#endif
