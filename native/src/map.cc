// SPDX-License-Identifier: Apache-2.0
// Maps one element at a time; map_batch.cc has the batches, mmap.cc the mappings.
#include "map.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cinttypes>
#include <cstdio>
#include <memory>
#include <vector>

#include "names.h"

namespace libbpf_ts {

namespace {

constexpr uint64_t kMaxSafeInteger = (1ULL << 53) - 1;

bool is_per_cpu(uint32_t type) {
  return type == BPF_MAP_TYPE_PERCPU_ARRAY || type == BPF_MAP_TYPE_PERCPU_HASH ||
         type == BPF_MAP_TYPE_LRU_PERCPU_HASH || type == BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE;
}

/** The memory that the kernel charges for the map: only fdinfo tells it. 0 if it does not. */
double memlock_bytes(int fd) {
  std::string path = "/proc/self/fdinfo/" + std::to_string(fd);
  std::unique_ptr<FILE, int (*)(FILE *)> file(std::fopen(path.c_str(), "re"), &std::fclose);
  if (!file) return 0;
  char line[256];
  uint64_t bytes = 0;
  while (std::fgets(line, sizeof(line), file.get()) != nullptr)
    if (std::sscanf(line, "memlock: %" SCNu64, &bytes) == 1) return static_cast<double>(bytes);
  return 0;
}

Napi::Value create_map(const Napi::CallbackInfo &info) {
  auto spec = info[0].As<Napi::Object>();
  LIBBPF_OPTS(bpf_map_create_opts, opts);
  opts.map_flags = u32_of(spec.Get("flags"), "flags");
  if (!is_absent(spec.Get("innerMap")))
    opts.inner_map_fd = static_cast<uint32_t>(Map::of(spec.Get("innerMap")).fd("create map"));
  std::string name = string_of(spec.Get("name"), "name");
  UniqueFd fd(bpf_map_create(static_cast<enum bpf_map_type>(map_type_of(spec.Get("type"))), name.c_str(),
                             u32_of(spec.Get("keySize"), "keySize"),
                             u32_of(spec.Get("valueSize"), "valueSize"),
                             u32_of(spec.Get("maxEntries"), "maxEntries"), &opts));
  if (!fd.valid()) throw_errno(info.Env(), "create map", errno);
  return Map::wrap(info.Env(), std::move(fd));
}

Napi::Value open_map(const Napi::CallbackInfo &info) {
  return Map::wrap(info.Env(), open_pinned(info.Env(), info[0], "open map", Map::kKind));
}

Napi::Value open_map_by_id(const Napi::CallbackInfo &info) {
  UniqueFd fd(bpf_map_get_fd_by_id(u32_of(info[0], "id")));
  if (!fd.valid()) throw_errno(info.Env(), "open map by id", errno);
  return Map::wrap(info.Env(), std::move(fd));
}

}  // namespace

Map::Map(const Napi::CallbackInfo &info) : Handle(info) {
  uint32_t size = sizeof(shape_);
  if (bpf_obj_get_info_by_fd(fd_.get(), &shape_, &size) != 0) throw_errno(info.Env(), "map info", errno);
  value_bytes_ = shape_.value_size;
  if (is_per_cpu(shape_.type))
    value_bytes_ = (value_bytes_ + 7) / 8 * 8 * static_cast<size_t>(libbpf_num_possible_cpus());
}

Napi::Value Map::info(const Napi::CallbackInfo &info) {
  double memlock = memlock_bytes(fd("map info"));
  Napi::Object result = Napi::Object::New(info.Env());
  result["id"] = shape_.id;
  result["type"] = map_type_name(shape_.type);
  result["name"] = std::string(shape_.name);
  result["keySize"] = shape_.key_size;
  result["valueSize"] = shape_.value_size;
  result["maxEntries"] = shape_.max_entries;
  result["flags"] = shape_.map_flags;
  result["btfId"] = shape_.btf_id;
  result["memlockBytes"] = memlock;
  return result;
}

Napi::Value Map::get(const Napi::CallbackInfo &info) {
  int map = fd("map get");
  Bytes key = bytes_of(info[0], "key", shape_.key_size);
  auto value = Napi::Uint8Array::New(info.Env(), value_bytes_);
  if (bpf_map_lookup_elem(map, key.data, value.Data()) == 0) return value;
  if (errno != ENOENT) throw_errno(info.Env(), "map get", errno);
  return info.Env().Null();
}

void Map::set(const Napi::CallbackInfo &info) {
  int map = fd("map set");
  Bytes key = bytes_of(info[0], "key", shape_.key_size);
  Bytes value = bytes_of(info[1], "value", value_bytes_);
  uint64_t flags = unsigned_of(info[2], "flags", kMaxSafeInteger);
  if (bpf_map_update_elem(map, key.data, value.data, flags) != 0) throw_errno(info.Env(), "map set", errno);
}

Napi::Value Map::remove(const Napi::CallbackInfo &info) {
  int map = fd("map delete");
  Bytes key = bytes_of(info[0], "key", shape_.key_size);
  if (bpf_map_delete_elem(map, key.data) == 0) return Napi::Boolean::New(info.Env(), true);
  if (errno != ENOENT) throw_errno(info.Env(), "map delete", errno);
  return Napi::Boolean::New(info.Env(), false);
}

// Ends after max_entries keys: BPF_MAP_GET_NEXT_KEY starts again at the first key when its own key has been
// deleted.
Napi::Value Map::all_keys(const Napi::CallbackInfo &info) {
  int map = fd("map keys");
  const size_t size = shape_.key_size;
  std::vector<uint8_t> keys;
  std::vector<uint8_t> next(size);
  const uint8_t *previous = nullptr;
  for (uint32_t i = 0; i < shape_.max_entries; i++) {
    if (bpf_map_get_next_key(map, previous, next.data()) != 0) {
      if (errno == ENOENT) break;
      throw_errno(info.Env(), "map keys", errno);
    }
    keys.insert(keys.end(), next.begin(), next.end());
    previous = keys.data() + keys.size() - size;
  }
  return bytes_to_js(info.Env(), keys.data(), keys.size());
}

Napi::Function Map::define(Napi::Env env) {
  return DefineClass(env, "Map",
                     {
                         InstanceAccessor("fd", &Map::get_fd, nullptr),
                         InstanceAccessor("info", &Map::info, nullptr),
                         InstanceMethod("get", &Map::get),
                         InstanceMethod("set", &Map::set),
                         InstanceMethod("delete", &Map::remove),
                         InstanceMethod("allKeys", &Map::all_keys),
                         InstanceMethod("updateBatch", &Map::update_batch),
                         InstanceMethod("deleteBatch", &Map::delete_batch),
                         InstanceMethod("lookupBatch", &Map::lookup_batch),
                         InstanceMethod("mmap", &Map::mmap),
                         InstanceMethod("pin", &Map::pin),
                         InstanceMethod("close", &Map::close),
                     });
}

void init_map(Napi::Env env, Napi::Object exports) {
  addon_of(env).map = Napi::Persistent(Map::define(env));
  exports["createMap"] = Napi::Function::New(env, create_map, "createMap");
  exports["openMap"] = Napi::Function::New(env, open_map, "openMap");
  exports["openMapById"] = Napi::Function::New(env, open_map_by_id, "openMapById");
}

}  // namespace libbpf_ts
