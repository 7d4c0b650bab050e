// SPDX-License-Identifier: Apache-2.0
// Type information that a JavaScript object owns.
#pragma once

#include <bpf/btf.h>

#include <string>

#include "addon.h"

namespace libbpf_ts {

/** A BTF and, if it was opened for one map, which of its types are that map's. */
struct BtfSource {
  struct btf *btf;
  std::string map_name = {};
  uint32_t key_type_id = 0;
  uint32_t value_type_id = 0;
};

class BtfTypes : public Napi::ObjectWrap<BtfTypes> {
 public:
  explicit BtfTypes(const Napi::CallbackInfo &info);
  ~BtfTypes() override { btf__free(source_.btf); }
  static Napi::Function define(Napi::Env env);
  /** Takes the BTF over. */
  static Napi::Object wrap(Napi::Env env, BtfSource source);

 private:
  Napi::Value find_struct(const Napi::CallbackInfo &info);
  Napi::Value find_enum(const Napi::CallbackInfo &info);
  Napi::Value map_types(const Napi::CallbackInfo &info);
  void close(const Napi::CallbackInfo &info);

  const struct btf *open(const char *operation) const;
  Napi::Value struct_name(uint32_t type_id) const;

  BtfSource source_ = {.btf = nullptr};
};

}  // namespace libbpf_ts
