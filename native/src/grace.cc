// SPDX-License-Identifier: Apache-2.0
// One RCU grace period, waited for on a worker thread: after it, no program that ran when it began is still
// running.
#include <bpf/bpf.h>

#include <memory>

#include "addon.h"
#include "error.h"
#include "handle.h"

namespace libbpf_ts {

namespace {

struct Wait {
  Napi::FunctionReference done;  // a promise of Node-API could not be freed while its environment ends
  napi_async_work work = nullptr;
  int error = 0;
};

// An update of a map in map returns only when no program can still see the map that was there before: the
// kernel waits for a grace period (maybe_wait_bpf_programs). Private maps, so that no lock but the kernel's
// own is involved.
int wait_for_programs() {
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

void execute(napi_env, void *data) { static_cast<Wait *>(data)->error = wait_for_programs(); }

// An environment that is being torn down runs no JavaScript: then nobody waits any more.
void complete(napi_env raw, napi_status, void *data) {
  std::unique_ptr<Wait> wait(static_cast<Wait *>(data));
  Napi::Env env(raw);
  Napi::HandleScope scope(env);
  napi_delete_async_work(raw, wait->work);
  try {
    Napi::Value error = env.Null();
    if (wait->error != 0) error = bpf_error(env, {.operation = "grace period", .error = wait->error}).Value();
    wait->done.Call({error});
  } catch (const Napi::Error &) {
  }
}

// gracePeriod(done(error | null))
void grace_period(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  auto wait = std::make_unique<Wait>();
  wait->done = Napi::Persistent(function_of(info[0], "done"));
  napi_value name = Napi::String::New(env, "libbpf-ts grace period");
  if (napi_create_async_work(env, nullptr, name, execute, complete, wait.get(), &wait->work) != napi_ok ||
      napi_queue_async_work(env, wait->work) != napi_ok)
    throw_errno(env, "grace period", EAGAIN);
  static_cast<void>(wait.release());
}

}  // namespace

void init_grace(Napi::Env env, Napi::Object exports) {
  exports["gracePeriod"] = Napi::Function::New<grace_period>(env, "gracePeriod");
}

}  // namespace libbpf_ts
