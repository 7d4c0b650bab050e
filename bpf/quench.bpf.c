/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Fails the datagrams that connected sockets still send to endpoints that serve no
 * more: the sender gets EPERM at once, in whatever network namespace it lives. For
 * sockets that cannot be ended; attached only while there are such, since it
 * runs for every packet.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "address.h"
#include "config.h"
#include "record.h"
#include "types.h"

char quench_license[] SEC("license") = "Dual BSD/GPL";

#define QUENCH_PASS 1
#define QUENCH_FAIL 0

/* Where the headers of a datagram have what is read here. */
#define IPV4_NO_OPTIONS	 0x45
#define IPV4_BYTES	 20
#define IPV4_PROTOCOL	 9
#define IPV4_DESTINATION 16
#define IPV6_BYTES	 40
#define IPV6_NEXT_HEADER 6
#define IPV6_DESTINATION 24
#define UDP_BYTES	 8
#define UDP_DESTINATION	 2

/* The endpoints whose sockets are failed, and how many datagrams were. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, struct gone_key);
	__type(value, struct stat);
} pt_gone SEC(".maps");

static __always_inline __u32 load_word(const __u8 *at)
{
	typedef __u32 __attribute__((__may_alias__)) word;

	return *(const word *)at;
}

/* In its branch: one load from a choice of two places takes CAP_PERFMON. */
static __always_inline __u32 load_port(const __u8 *at)
{
	__u32 port = at[0] << 8 | at[1];

	FORGET(port);
	return port;
}

/* Where a UDP datagram goes; false for anything else, and for IP headers with options. */
static __always_inline bool datagram_destination(struct __sk_buff *skb, struct peer_name *name)
{
	const __u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (data + IPV4_BYTES + UDP_BYTES > end || data[0] != IPV4_NO_OPTIONS ||
		    data[IPV4_PROTOCOL] != IPPROTO_UDP)
			return false;
		name->address = address_of_v4(load_word(data + IPV4_DESTINATION));
		name->port = load_port(data + IPV4_BYTES + UDP_DESTINATION);
		return true;
	}
	if (data + IPV6_BYTES + UDP_BYTES > end || data[IPV6_NEXT_HEADER] != IPPROTO_UDP)
		return false;
	name->address.high = load_word(data + IPV6_DESTINATION) |
			     (__u64)load_word(data + IPV6_DESTINATION + 4) << 32;
	name->address.low = load_word(data + IPV6_DESTINATION + 8) |
			    (__u64)load_word(data + IPV6_DESTINATION + 12) << 32;
	name->port = load_port(data + IPV6_BYTES + UDP_DESTINATION);
	return true;
}

/*
 * Is this what a connect() was led to, and has user space named it? Not if it has come
 * back since, and this socket was led to it as it is now.
 */
static __always_inline bool is_gone(struct scratch *scratch, struct socket_record *record,
				    struct peer_name to)
{
	struct gone_key key __attribute__((aligned(8)));
	struct stat *failed;

	if (record->flags & SOCKET_SENDTO || record->backend_port != to.port ||
	    !address_equal(address_load(record->backend_addr), to.address) ||
	    lb_is_known(scratch, record->backend_id, record->generation, record->service_id,
			BACKEND_SERVING))
		return false;
	address_store(key.addr, to.address);
	/* Whole words: 6.1's verifier refuses a store into half of a spilled one. */
	*(address_half *)&key.port = to.port | (__u64)record->service_id << 32;
	failed = bpf_map_lookup_elem(&pt_gone, &key);
	if (!failed)
		return false;
	__sync_fetch_and_add(&failed->count, 1);
	return true;
}

SEC("cgroup_skb/egress")
int pt_quench(struct __sk_buff *skb)
{
	struct record_owner owner;
	struct socket_record *record;
	struct scratch scratch;
	struct peer_name to;
	struct bpf_sock *sk;

	if (!datagram_destination(skb, &to))
		return QUENCH_PASS;
	sk = skb->sk;
	if (!sk)
		return QUENCH_PASS;
	sk = bpf_sk_fullsock(sk);
	/* After connect(AF_UNSPEC) the record stays, and stands for nothing. */
	if (!sk || sk->state != BPF_TCP_ESTABLISHED)
		return QUENCH_PASS;
	owner.sk = sk;
	owner.cookie = bpf_get_socket_cookie(skb);
	record = record_find(&scratch, owner);
	return record && is_gone(&scratch, record, to) ? QUENCH_FAIL : QUENCH_PASS;
}
