// SPDX-License-Identifier: Apache-2.0
// Gives free memory of the C library back to the system.
#include <malloc.h>

#include "addon.h"

namespace libbpf_ts {

namespace {

Napi::Value trim_malloc(const Napi::CallbackInfo &info) {
  return Napi::Boolean::New(info.Env(), malloc_trim(0) == 1);
}

}  // namespace

void init_sys_memory(Napi::Env env, Napi::Object exports) {
  exports["mallocTrim"] = Napi::Function::New(env, trim_malloc, "mallocTrim");
}

}  // namespace libbpf_ts
