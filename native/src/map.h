// SPDX-License-Identifier: Apache-2.0
// A map's descriptor together with the sizes that every buffer is checked against.
#pragma once

#include <linux/bpf.h>

#include "addon.h"
#include "handle.h"

namespace libbpf_ts {

class Map : public Handle<Map> {
 public:
  static constexpr const char *kKind = "bpf-map";

  explicit Map(const Napi::CallbackInfo &info);
  static Napi::Function define(Napi::Env env);
  static Napi::Object wrap(Napi::Env env, UniqueFd fd) { return create(addon_of(env).map, std::move(fd)); }
  static Map &of(Napi::Value value) { return from(value, addon_of(value.Env()).map, "map"); }

  /** The kernel's description, as it was when the descriptor was opened. */
  const struct bpf_map_info &shape() const { return shape_; }

 private:
  Napi::Value info(const Napi::CallbackInfo &info);
  Napi::Value get(const Napi::CallbackInfo &info);
  void set(const Napi::CallbackInfo &info);
  Napi::Value remove(const Napi::CallbackInfo &info);
  Napi::Value all_keys(const Napi::CallbackInfo &info);
  Napi::Value update_batch(const Napi::CallbackInfo &info);
  Napi::Value delete_batch(const Napi::CallbackInfo &info);
  Napi::Value lookup_batch(const Napi::CallbackInfo &info);
  Napi::Value mmap(const Napi::CallbackInfo &info);

  struct bpf_map_info shape_ = {};
  /** Bytes of one value as system calls exchange it: per-CPU maps hold one for each possible CPU. */
  size_t value_bytes_ = 0;
};

}  // namespace libbpf_ts
