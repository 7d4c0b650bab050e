/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The verifier refuses it after a walk long enough that its log outgrows a 64 KiB buffer. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

SEC("tc")
int broken(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	volatile __u32 sum = 0;

#pragma unroll
	for (int i = 0; i < 1500; i++)
		sum += skb->len ^ i;
	return *(__u32 *)(data + 100) + sum;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
