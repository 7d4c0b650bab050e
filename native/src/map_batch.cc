// SPDX-License-Identifier: Apache-2.0
// Many elements by one system call.
#include <bpf/bpf.h>

#include <algorithm>
#include <vector>

#include "map.h"

namespace libbpf_ts {

namespace {

constexpr uint64_t kMaxSafeInteger = (1ULL << 53) - 1;

/**
 * Throws for a batch that stopped early. The kernel writes how far it came into done, but leaves it as it was
 * if it refused the call before the first element.
 */
[[noreturn]] void throw_partial(Napi::Env env, const char *operation, uint32_t wanted, uint32_t done) {
  int error = errno;
  throw_bpf_error(env, {.operation = operation, .error = error, .count = done < wanted ? done : 0});
}

}  // namespace

Napi::Value Map::update_batch(const Napi::CallbackInfo &info) {
  int map = fd("map update batch");
  uint32_t count = u32_of(info[2], "count");
  Bytes keys = bytes_of(info[0], "keys", static_cast<size_t>(count) * shape_.key_size);
  Bytes values = bytes_of(info[1], "values", count * value_bytes_);
  LIBBPF_OPTS(bpf_map_batch_opts, opts);
  opts.elem_flags = unsigned_of(info[3], "flags", kMaxSafeInteger);
  uint32_t done = count;
  if (count > 0 && bpf_map_update_batch(map, keys.data, values.data, &done, &opts) != 0)
    throw_partial(info.Env(), "map update batch", count, done);
  return Napi::Number::New(info.Env(), done);
}

Napi::Value Map::delete_batch(const Napi::CallbackInfo &info) {
  int map = fd("map delete batch");
  uint32_t count = u32_of(info[1], "count");
  Bytes keys = bytes_of(info[0], "keys", static_cast<size_t>(count) * shape_.key_size);
  LIBBPF_OPTS(bpf_map_batch_opts, opts);
  uint32_t done = count;
  if (count > 0 && bpf_map_delete_batch(map, keys.data, &done, &opts) != 0)
    throw_partial(info.Env(), "map delete batch", count, done);
  return Napi::Number::New(info.Env(), done);
}

// lookupBatch(cursor | null, chunk): {keys, values, count, cursor}; cursor is null behind the last element.
Napi::Value Map::lookup_batch(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  int map = fd("map lookup batch");
  // What a cursor holds is the kernel's business; it is no longer than a key or, for hashes, than 4 bytes.
  const size_t cursor_size = std::max<size_t>(shape_.key_size, sizeof(uint32_t));
  uint8_t *cursor = is_absent(info[0]) ? nullptr : bytes_of(info[0], "cursor", cursor_size).data;
  uint32_t count = u32_of(info[1], "chunk");
  std::vector<uint8_t> keys(static_cast<size_t>(count) * shape_.key_size);
  std::vector<uint8_t> values(count * value_bytes_);
  std::vector<uint8_t> next(cursor_size);
  LIBBPF_OPTS(bpf_map_batch_opts, opts);
  int result = bpf_map_lookup_batch(map, cursor, next.data(), keys.data(), values.data(), &count, &opts);
  if (result != 0 && errno != ENOENT) throw_errno(env, "map lookup batch", errno);
  Napi::Object chunk = Napi::Object::New(env);
  chunk["keys"] = bytes_to_js(env, keys.data(), static_cast<size_t>(count) * shape_.key_size);
  chunk["values"] = bytes_to_js(env, values.data(), count * value_bytes_);
  chunk["count"] = count;
  chunk["cursor"] = result != 0 ? env.Null() : bytes_to_js(env, next.data(), next.size()).As<Napi::Value>();
  return chunk;
}

}  // namespace libbpf_ts
