/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The addon's own test object: a map, a constant and a program of every kind that the tests touch. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

enum color {
	COLOR_RED = 1,
	COLOR_GREEN = 2,
};

struct point {
	__u32 x;
	__u32 y;
};

struct key {
	__u8 addr[16];
	__u16 port;
	__u8 proto;
	__u8 pad;
};

struct value {
	__u64 word;
	struct point where;
	char name[7];
	__u8 low : 3;
	__u8 high : 5;
	enum color color;
	union {
		__u32 number;
		__u8 octets[4];
	};
	__s16 grid[2][3];
	struct point *next;
};

typedef struct {
	__u32 a;
} alias_t;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct key);
	__type(value, struct value);
} table SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct point);
} points SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, alias_t);
} aliases SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

const volatile __u32 limit = 7;
const volatile __s8 offset = 0;
const volatile _Bool enabled = 0;
const volatile __u64 wide = 0;
const volatile enum color paint = COLOR_RED;
const volatile struct point origin = {};
__u64 calls;

/* Returns what the constants say, so that a test run shows them. */
SEC("tc")
int constants(struct __sk_buff *skb)
{
	calls++;
	if (!enabled)
		return limit;
	return limit + offset + (__u32)wide + paint + origin.x + origin.y;
}

/* Copies the packet's length to the ring buffer; grows the packet by 4 bytes. */
SEC("tc")
int emit(struct __sk_buff *skb)
{
	__u32 *record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);

	if (!record)
		return TC_ACT_SHOT;
	*record = skb->len;
	bpf_ringbuf_submit(record, 0);
	skb->mark += 1;
	bpf_skb_change_tail(skb, skb->len + 4, 0);
	return TC_ACT_OK;
}

/* No kernel has it. */
static int (*no_such_helper)(void) = (void *)9999;

SEC("?tc")
int newer(struct __sk_buff *skb __attribute__((unused)))
{
	return no_such_helper() + no_such_helper();
}

SEC("xdp")
int pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

/* Two connect programs: one lets everything through, the other nothing. */
SEC("cgroup/connect4")
int allow(struct bpf_sock_addr *ctx)
{
	return 1;
}

SEC("cgroup/connect4")
int refuse(struct bpf_sock_addr *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
