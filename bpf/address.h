/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * 16-byte addresses held in two registers, IPv4 as ::ffff:a.b.c.d, so that one
 * code path serves both families. The halves are in network order, as in memory.
 */
#ifndef PORTOLAN_ADDRESS_H
#define PORTOLAN_ADDRESS_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct address {
	__u64 high;
	__u64 low;
};

/* An address and port as a socket call names them. */
struct peer_name {
	struct address address;
	__u16 port; /* host order */
};

/* Map values and keys hold addresses as bytes, 8-aligned wherever these are used. */
typedef __u64 __attribute__((__may_alias__)) address_half;

static __always_inline struct address address_load(const __u8 *bytes)
{
	const address_half *halves = (const address_half *)bytes;

	return (struct address){.high = halves[0], .low = halves[1]};
}

static __always_inline void address_store(__u8 *bytes, struct address address)
{
	address_half *halves = (address_half *)bytes;

	halves[0] = address.high;
	halves[1] = address.low;
}

static __always_inline struct address address_of_v4(__be32 v4)
{
	return (struct address){.low = bpf_cpu_to_be64(0xffff00000000ULL | bpf_ntohl(v4))};
}

static __always_inline __be32 address_to_v4(struct address address)
{
	return bpf_htonl((__u32)bpf_be64_to_cpu(address.low));
}

static __always_inline bool address_equal(struct address a, struct address b)
{
	return a.low == b.low && a.high == b.high;
}

static __always_inline bool address_is_v4(struct address a)
{
	return !a.high && (a.low & bpf_cpu_to_be64(0xffffffff00000000ULL)) ==
			      bpf_cpu_to_be64(0x0000ffff00000000ULL);
}

/* The unspecified address of a's family: the key of its NodePort rows. */
static __always_inline struct address address_wildcard(struct address a)
{
	struct address wildcard = {0};

	if (address_is_v4(a))
		wildcard.low = bpf_cpu_to_be64(0x0000ffff00000000ULL);
	return wildcard;
}

static __always_inline bool address_is_unspecified(struct address a)
{
	return !a.high && (!a.low || a.low == bpf_cpu_to_be64(0x0000ffff00000000ULL));
}

/* 127/8 (mapped as well) and ::1. */
static __always_inline bool address_is_loopback(struct address a)
{
	return !a.high &&
	       (a.low == bpf_cpu_to_be64(1) || (a.low & bpf_cpu_to_be64(0xffffffffff000000ULL)) ==
						   bpf_cpu_to_be64(0x0000ffff7f000000ULL));
}

#endif
