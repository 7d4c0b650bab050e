/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Looks up random Services through lb.h, as any hook does, and judges what it
 * gets: hooks of sockets cannot be run by BPF_PROG_TEST_RUN, this can.
 *
 * Each Service n is 10.96.x.y:80, its sets numbered 1, 2, 3…, the number being
 * the backends' IPv4 address. A set may be chosen once the writer has put its
 * number in .begin and must not be once a later one is in .end; so what a lookup
 * gets lies between .end as it was before, and .begin as it was after.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
#include "../../bpf/lb.h"

char probe_license[] SEC("license") = "Dual BSD/GPL";

const volatile __u32 service_count = 1;
const volatile __u32 linger = 0; /* steps to dawdle between reading an extent and using it */

struct epoch {
	__u64 begin;
	__u64 end;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, struct epoch);
} probe_epochs SEC(".maps");

struct verdicts {
	__u64 lookups;
	__u64 members;
	__u64 strangers; /* neither of the old set nor of the new: never */
	__u64 missing;	 /* no frontend */
	__u64 rejected;
	__u64 dropped;
	__u64 last_stranger; /* set number << 32 | service */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct verdicts);
} probe_verdicts SEC(".maps");

static __always_inline void judge(struct verdicts *verdicts, const struct lb_choice *choice,
				  __u64 first, __u64 last, __u32 n)
{
	struct scratch scratch;
	struct backend *backend;
	__u32 set;

	if (choice->verdict == LB_NONE)
		__sync_fetch_and_add(&verdicts->missing, 1);
	else if (choice->verdict == LB_REJECT)
		__sync_fetch_and_add(&verdicts->rejected, 1);
	else if (choice->verdict == LB_DROP)
		__sync_fetch_and_add(&verdicts->dropped, 1);
	if (choice->verdict != LB_FORWARD)
		return;
	backend = lb_backend(&scratch, choice->id);
	if (!backend)
		return;
	set = bpf_ntohl(address_to_v4(address_load(backend->addr)));
	if (set >= first && set <= last) {
		__sync_fetch_and_add(&verdicts->members, 1);
	} else {
		__sync_fetch_and_add(&verdicts->strangers, 1);
		verdicts->last_stranger = (__u64)set << 32 | n;
	}
}

/* lb_choose() by someone who is interrupted at the worst moment. */
static __always_inline struct lb_choice choose_slowly(struct scratch *scratch, lb_frontend frontend,
						      const struct service *service)
{
	__u64 extent = lb_extent(service, false);
	struct lb_choice choice = {.verdict = lb_policy(extent)};

	if (choice.verdict != LB_FORWARD)
		return choice;
	for (__u32 i = 0; i < 4096 && i < linger; i++)
		bpf_get_prandom_u32();
	choice.id = lb_pick(scratch, extent);
	if (lb_is_member(scratch, choice.id, LB_SERVICE(frontend), BACKEND_CLUSTER))
		return choice;
	/* lb_choose() would try again. */
	return lb_choose(scratch, frontend, service);
}

SEC("tc")
int lb_probe(struct __sk_buff *skb __attribute__((unused)))
{
	__u32 n = ((__u64)bpf_get_prandom_u32() * service_count) >> 32;
	struct lb_choice choice = {.verdict = LB_NONE};
	struct scratch scratch;
	struct verdicts *verdicts = scratch_element(&scratch, &probe_verdicts, 0);
	struct epoch *epoch = scratch_element(&scratch, &probe_epochs, n);
	lb_frontend frontend;
	__u64 first;

	if (!verdicts || !epoch)
		return 0;
	first = READ_ONCE(epoch->end);
	frontend = lb_find(&scratch, address_of_v4(bpf_htonl(0x0a600000 | n)), 80, IPPROTO_TCP);
	if (frontend) {
		struct service *service =
		    scratch_element(&scratch, &pt_services, LB_SERVICE(frontend));

		if (service)
			choice = linger ? choose_slowly(&scratch, frontend, service)
					: lb_choose(&scratch, frontend, service);
	}
	judge(verdicts, &choice, first, READ_ONCE(epoch->begin), n);
	__sync_fetch_and_add(&verdicts->lookups, 1);
	return 0;
}
