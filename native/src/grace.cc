// SPDX-License-Identifier: Apache-2.0
// One RCU grace period, waited for on a worker thread: after it, no program that ran when it began is still
// running.
#include <bpf/bpf.h>

#include <cerrno>

#include "addon.h"
#include "args.h"
#include "handle.h"
#include "job.h"

namespace libbpf_ts {

namespace {

class GracePeriod : public Job {
 public:
  GracePeriod() : Job("grace period") {}
  int run() override;
  Napi::Value result(Napi::Env env) override { return env.Null(); }
};

// An update of a map in map returns only when no program can still see the map that was there before: the
// kernel waits for a grace period (maybe_wait_bpf_programs). Private maps, so that no lock but the kernel's
// own is involved.
int GracePeriod::run() {
  UniqueFd inner(bpf_map_create(BPF_MAP_TYPE_ARRAY, "grace_inner", 4, 4, 1, nullptr));
  if (!inner.valid()) return errno;
  LIBBPF_OPTS(bpf_map_create_opts, opts);
  opts.inner_map_fd = static_cast<uint32_t>(inner.get());
  UniqueFd outer(bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "grace", 4, 4, 1, &opts));
  if (!outer.valid()) return errno;
  uint32_t key = 0;
  int value = inner.get();
  return bpf_map_update_elem(outer.get(), &key, &value, BPF_ANY) == 0 ? 0 : errno;
}

// gracePeriod(done(error | null))
void grace_period(const Napi::CallbackInfo &info) {
  Job::start(std::make_unique<GracePeriod>(), function_of(info[0], "done"));
}

}  // namespace

void init_grace(Napi::Env env, Napi::Object exports) {
  exports["gracePeriod"] = Napi::Function::New<grace_period>(env, "gracePeriod");
}

}  // namespace libbpf_ts
