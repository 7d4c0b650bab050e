// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "addon.h"
#include "handle.h"

namespace libbpf_ts {

/** A link's descriptor: the attachment of a program to a hook. */
class Link : public Handle<Link> {
 public:
  static constexpr const char *kKind = "bpf-link";

  explicit Link(const Napi::CallbackInfo &info) : Handle(info) {}
  static Napi::Function define(Napi::Env env);
  static Napi::Object wrap(Napi::Env env, UniqueFd fd) { return create(addon_of(env).link, std::move(fd)); }

 private:
  Napi::Value info(const Napi::CallbackInfo &info);
  void update(const Napi::CallbackInfo &info);
  void detach(const Napi::CallbackInfo &info);
};

}  // namespace libbpf_ts
