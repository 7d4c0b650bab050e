/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Check words. An element of an LRU map may be evicted and refilled for another
 * key while a reader still holds it: such rows carry a hash of their key and
 * contents. Copy the row, then compare; a mismatch is a miss.
 */
#ifndef PORTOLAN_CHECK_H
#define PORTOLAN_CHECK_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define CHECK_MULTIPLIER 0x5bd1e995 /* fits an instruction */

static __always_inline __u64 check_add(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * CHECK_MULTIPLIER;
	return hash ^ (hash >> 31);
}

#endif
