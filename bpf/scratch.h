/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The stack area that keys of lookups are built in; each program has one.
 *
 * Loaded without CAP_PERFMON, a program gets a speculation barrier behind every
 * first write to a stack slot, every spilled pointer and every rewrite of a
 * spilled 8-byte value, 10 ns each: more than all its lookups. Hence one area for
 * all lookups, its index in the upper half of a slot (never taken for a spill),
 * and code that reads values again instead of keeping them.
 */
#ifndef PORTOLAN_SCRATCH_H
#define PORTOLAN_SCRATCH_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "types.h"

/* One load, now: the agent and other CPUs write under us. */
#define READ_ONCE(lvalue) (*(const volatile typeof(lvalue) *)&(lvalue))

struct scratch {
	struct frontend_key key;
	__u32 index; /* of an array element */
} __attribute__((aligned(8)));

_Static_assert(__builtin_offsetof(struct scratch, index) % 8 == 4, "index");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are taken apart by shifts");

/* Makes the compiler work a value out anew from here on, rather than keep it in a spilled register.
 */
#define FORGET(value) asm volatile("" : "+r"(value))

static __always_inline void *scratch_element(struct scratch *scratch, void *array, __u32 index)
{
	FORGET(scratch);
	scratch->index = index;
	return bpf_map_lookup_elem(array, &scratch->index);
}

#endif
