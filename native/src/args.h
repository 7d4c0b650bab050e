// SPDX-License-Identifier: Apache-2.0
// JavaScript arguments as C++ values. A wrong type is a TypeError, a wrong size or range a RangeError, each
// before any system call.
#pragma once

#include <napi.h>

#include <string>

namespace libbpf_ts {

/** A view of a Uint8Array's memory: valid until the next call into JavaScript. */
struct Bytes {
  uint8_t *data;
  size_t size;
};

Bytes bytes_of(Napi::Value value, const char *name);
/** As bytes_of, and exactly this long. */
Bytes bytes_of(Napi::Value value, const char *name, size_t size);
/** Text without zero bytes. */
std::string string_of(Napi::Value value, const char *name);
/** An integer from 0 to max, which is at most 2^53 - 1. */
uint64_t unsigned_of(Napi::Value value, const char *name, uint64_t max);
uint32_t u32_of(Napi::Value value, const char *name);
int fd_of(Napi::Value value, const char *name);
/** A bigint from 0 to 2^64 - 1. */
uint64_t u64_of(Napi::Value value, const char *name);
bool bool_of(Napi::Value value, const char *name);
Napi::Function function_of(Napi::Value value, const char *name);

/** A new Uint8Array holding a copy. */
Napi::Uint8Array bytes_to_js(Napi::Env env, const void *data, size_t size);

inline bool is_absent(Napi::Value value) { return value.IsNull() || value.IsUndefined(); }

}  // namespace libbpf_ts
