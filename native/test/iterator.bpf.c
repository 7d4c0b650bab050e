/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Writes every 4-byte key of a map, as bytes; every 4 KiB value; the port of every UDP socket. In an object of its own: tracing programs need CAP_PERFMON. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
	__u64 session_id;
	__u64 seq_num;
};

struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	void *key;
	void *value;
};

struct sock_common {
	__u16 skc_num;
} __attribute__((preserve_access_index));

struct sock {
	struct sock_common __sk_common;
} __attribute__((preserve_access_index));

struct inet_sock {
	struct sock sk;
} __attribute__((preserve_access_index));

struct udp_sock {
	struct inet_sock inet;
} __attribute__((preserve_access_index));

struct bpf_iter__udp {
	struct bpf_iter_meta *meta;
	struct udp_sock *udp_sk;
};

SEC("iter/bpf_map_elem")
int keys(struct bpf_iter__bpf_map_elem *ctx)
{
	__u32 *key = ctx->key;

	if (key)
		bpf_seq_write(ctx->meta->seq, key, sizeof(*key));
	return 0;
}

SEC("iter/bpf_map_elem")
int pages(struct bpf_iter__bpf_map_elem *ctx)
{
	if (ctx->value)
		bpf_seq_write(ctx->meta->seq, ctx->value, 4096);
	return 0;
}

SEC("iter/udp")
int udp_sockets(struct bpf_iter__udp *ctx)
{
	__u16 port;

	if (!ctx->udp_sk)
		return 0;
	port = ctx->udp_sk->inet.sk.__sk_common.skc_num;
	bpf_seq_write(ctx->meta->seq, &port, sizeof(port));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
