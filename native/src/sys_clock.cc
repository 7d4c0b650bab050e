// SPDX-License-Identifier: Apache-2.0
// The clock that BPF programs read with bpf_ktime_get_ns.
#include <ctime>

#include "addon.h"

namespace libbpf_ts {

namespace {

Napi::Value clock_monotonic(const Napi::CallbackInfo &info) {
  struct timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  uint64_t ns = static_cast<uint64_t>(now.tv_sec) * 1'000'000'000ULL + static_cast<uint64_t>(now.tv_nsec);
  return Napi::BigInt::New(info.Env(), ns);
}

}  // namespace

void init_sys_clock(Napi::Env env, Napi::Object exports) {
  exports["clockMonotonicNs"] = Napi::Function::New(env, clock_monotonic, "clockMonotonicNs");
}

}  // namespace libbpf_ts
