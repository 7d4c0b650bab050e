/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Ends sockets that user space names (pt_doomed). Iterators: run by reading them,
 * over the sockets of the reader's network namespace. For Linux 6.5 or newer, and
 * CAP_PERFMON.
 */
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in6.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "address.h"
#include "types.h"

char kill_license[] SEC("license") = "Dual BSD/GPL";

#define AF_INET 2

/* Of the kernel's own types what is read here; where it lies is found out at load. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct seq_file;
struct udp_sock;

struct sock_common {
	__be32 skc_daddr;
	__be16 skc_dport;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	struct in6_addr skc_v6_daddr;
	struct {
		__s64 counter;
	} skc_cookie;
};

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__udp {
	struct bpf_iter_meta *meta;
	struct udp_sock *udp_sk;
};

struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
};

#pragma clang attribute pop

extern int bpf_sock_destroy(struct sock_common *sk) __ksym;

/*
 * Written and emptied by user space, a pass at a time: as many as a table of sockets
 * has places by default, so that each namespace is looked at once.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u64); /* socket cookie */
	__type(value, struct doomed);
} pt_doomed SEC(".maps");

/* Is the socket still connected to the peer for which it was named? */
static __always_inline bool is_at(const struct sock_common *sk, const struct doomed *doomed)
{
	struct address peer;

	if (bpf_ntohs(sk->skc_dport) != doomed->port)
		return false;
	if (sk->skc_family == AF_INET) {
		peer = address_of_v4(sk->skc_daddr);
	} else {
		const __be32 *words = sk->skc_v6_daddr.in6_u.u6_addr32;

		peer.high = words[0] | (__u64)words[1] << 32;
		peer.low = words[2] | (__u64)words[3] << 32;
	}
	return address_equal(peer, address_load(doomed->addr));
}

/*
 * Ends it if it is named, and writes its cookie. Written first: if there is no room,
 * the kernel comes back with the same socket.
 */
static __always_inline void end_named(struct bpf_iter_meta *meta, struct sock_common *sk)
{
	__u64 cookie = sk->skc_cookie.counter;
	struct doomed *doomed;

	if (!cookie)
		return;
	doomed = bpf_map_lookup_elem(&pt_doomed, &cookie);
	if (!doomed || !is_at(sk, doomed))
		return;
	if (!bpf_seq_write(meta->seq, &cookie, sizeof(cookie)))
		bpf_sock_destroy(sk);
}

SEC("iter/udp")
int pt_end_udp(struct bpf_iter__udp *ctx)
{
	struct sock_common *sk = (struct sock_common *)ctx->udp_sk;

	if (sk && sk->skc_state == BPF_TCP_ESTABLISHED)
		end_named(ctx->meta, sk);
	return 0;
}

SEC("iter/tcp")
int pt_end_tcp(struct bpf_iter__tcp *ctx)
{
	struct sock_common *sk = ctx->sk_common;
	unsigned char state;

	if (!sk)
		return 0;
	state = sk->skc_state;
	if (state != BPF_TCP_LISTEN && state != BPF_TCP_CLOSE && state != BPF_TCP_TIME_WAIT &&
	    state != BPF_TCP_NEW_SYN_RECV)
		end_named(ctx->meta, sk);
	return 0;
}
