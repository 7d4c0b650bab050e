// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "addon.h"
#include "handle.h"

namespace libbpf_ts {

/** A loaded program's descriptor. */
class Program : public Handle<Program> {
 public:
  static constexpr const char *kKind = "bpf-prog";

  explicit Program(const Napi::CallbackInfo &info) : Handle(info) {}
  static Napi::Function define(Napi::Env env);
  static Napi::Object wrap(Napi::Env env, UniqueFd fd) {
    return create(addon_of(env).program, std::move(fd));
  }
  static Program &of(Napi::Value value) { return from(value, addon_of(value.Env()).program, "program"); }

 private:
  Napi::Value info(const Napi::CallbackInfo &info);
  Napi::Value test_run(const Napi::CallbackInfo &info);
  Napi::Value attach_cgroup(const Napi::CallbackInfo &info);
  Napi::Value attach_tcx(const Napi::CallbackInfo &info);
  Napi::Value attach_xdp(const Napi::CallbackInfo &info);
};

}  // namespace libbpf_ts
