// SPDX-License-Identifier: Apache-2.0
// Only in the sanitizer build: looks for leaks now, since test runners end their processes in a hurry.
#include "addon.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

namespace libbpf_ts {

#ifdef __SANITIZE_ADDRESS__

namespace {

// True if there are leaks; the sanitizer has reported them then.
Napi::Value find_leaks(const Napi::CallbackInfo &info) {
  return Napi::Boolean::New(info.Env(), __lsan_do_recoverable_leak_check() != 0);
}

}  // namespace

void init_sanitizer(Napi::Env env, Napi::Object exports) {
  exports["findLeaks"] = Napi::Function::New(env, find_leaks, "findLeaks");
}

#else

void init_sanitizer(Napi::Env, Napi::Object) {}

#endif

}  // namespace libbpf_ts
