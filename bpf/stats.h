/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Counters by reason. Atomic: cgroup programs can be preempted by one of their own kind. */
#ifndef PORTOLAN_STATS_H
#define PORTOLAN_STATS_H

#include "maps.h"
#include "scratch.h"

static __always_inline void stat_count(struct scratch *scratch, enum stat_reason reason)
{
	struct stat *stat = scratch_element(scratch, &pt_stats, reason);

	if (stat)
		__sync_fetch_and_add(&stat->count, 1);
}

#endif
