/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Lists the records that lie in sockets' own storage (pt_sockets_ovf), of all network
 * namespaces: an iterator, run by reading it. Needs CAP_PERFMON.
 */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include "types.h"

char overflow_license[] SEC("license") = "Dual BSD/GPL";

/* Of the kernel's own types what is read here; where it lies is found out at load. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__bpf_sk_storage_map {
	struct bpf_iter_meta *meta;
	void *value;
};

#pragma clang attribute pop

SEC("iter/bpf_sk_storage_map")
int pt_list_overflow(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	void *record = ctx->value;

	if (record)
		bpf_seq_write(ctx->meta->seq, record, sizeof(struct socket_record));
	return 0;
}
