// SPDX-License-Identifier: Apache-2.0
// Structs, enums and map types by name. Sizes and offsets are in bytes.
#include "btf.h"

#include <bpf/bpf.h>

#include "args.h"
#include "error.h"
#include "map.h"

namespace libbpf_ts {

namespace {

using Type = struct btf_type;

const Type *resolved(const struct btf *btf, uint32_t type_id) {
  int id = btf__resolve_type(btf, type_id);
  return id < 0 ? nullptr : btf__type_by_id(btf, static_cast<uint32_t>(id));
}

std::string name_at(const struct btf *btf, uint32_t offset) {
  const char *name = btf__name_by_offset(btf, offset);
  return name == nullptr ? "" : name;
}

/** A type's name as it was written, without const, volatile, struct, union and enum; "name *" for a pointer.
 */
std::string written_name(const struct btf *btf, uint32_t type_id) {
  const Type *type = btf__type_by_id(btf, type_id);
  while (type != nullptr && btf_is_mod(type)) {
    type_id = type->type;
    type = btf__type_by_id(btf, type_id);
  }
  if (type == nullptr || type_id == 0) return "void";
  if (btf_is_ptr(type)) return written_name(btf, type->type) + " *";
  return name_at(btf, type->name_off);
}

/** By its own name or through a typedef. */
const Type *find_composite(const struct btf *btf, const std::string &name) {
  for (uint32_t kind : std::initializer_list<uint32_t>{BTF_KIND_STRUCT, BTF_KIND_UNION, BTF_KIND_TYPEDEF}) {
    int id = btf__find_by_name_kind(btf, name.c_str(), kind);
    if (id < 0) continue;
    const Type *type = resolved(btf, static_cast<uint32_t>(id));
    if (type != nullptr && btf_is_composite(type)) return type;
  }
  return nullptr;
}

const Type *find_enumeration(const struct btf *btf, const std::string &name) {
  for (uint32_t kind : std::initializer_list<uint32_t>{BTF_KIND_ENUM, BTF_KIND_ENUM64, BTF_KIND_TYPEDEF}) {
    int id = btf__find_by_name_kind(btf, name.c_str(), kind);
    if (id < 0) continue;
    const Type *type = resolved(btf, static_cast<uint32_t>(id));
    if (type != nullptr && btf_is_any_enum(type)) return type;
  }
  return nullptr;
}

/** How many elements an array has over all its dimensions, and the type of one. */
uint32_t array_elements(const struct btf *btf, const Type *array, uint32_t *element_id) {
  uint32_t elements = 1;
  while (array != nullptr && btf_is_array(array)) {
    elements *= btf_array(array)->nelems;
    *element_id = btf_array(array)->type;
    array = resolved(btf, *element_id);
  }
  return elements;
}

/** Appends a struct's members; those of an anonymous one inside it count as its own, as in C. */
void append_members(const struct btf *btf, const Type *composite, uint32_t base_bits, Napi::Array members) {
  Napi::Env env = members.Env();
  for (uint32_t i = 0; i < btf_vlen(composite); i++) {
    const struct btf_member *member = btf_members(composite) + i;
    const uint32_t bits = base_bits + btf_member_bit_offset(composite, i);
    const uint32_t bitfield = btf_member_bitfield_size(composite, i);
    const Type *type = resolved(btf, member->type);
    std::string name = name_at(btf, member->name_off);
    if (name.empty() && type != nullptr && btf_is_composite(type)) {
      append_members(btf, type, bits, members);
      continue;
    }
    uint32_t element_id = member->type;
    bool is_array = type != nullptr && btf_is_array(type);
    uint32_t elements = is_array ? array_elements(btf, type, &element_id) : 1;
    Napi::Object entry = Napi::Object::New(env);
    entry["name"] = name;
    entry["offset"] = bits / 8;
    entry["size"] = static_cast<double>(btf__resolve_size(btf, member->type));
    entry["type"] = written_name(btf, element_id);
    entry["elements"] = is_array ? Napi::Number::New(env, elements).As<Napi::Value>() : env.Null();
    entry["bitOffset"] = bitfield > 0 ? Napi::Number::New(env, bits % 8).As<Napi::Value>() : env.Null();
    entry["bitSize"] = bitfield > 0 ? Napi::Number::New(env, bitfield).As<Napi::Value>() : env.Null();
    members[members.Length()] = entry;
  }
}

double enum_value(const Type *type, uint32_t index) {
  if (btf_is_enum(type)) {
    int32_t value = btf_enum(type)[index].val;
    return btf_kflag(type) ? static_cast<double>(value) : static_cast<double>(static_cast<uint32_t>(value));
  }
  uint64_t value = btf_enum64_value(btf_enum64(type) + index);
  return btf_kflag(type) ? static_cast<double>(static_cast<int64_t>(value)) : static_cast<double>(value);
}

std::string enum_name(const struct btf *btf, const Type *type, uint32_t index) {
  return name_at(btf, btf_is_enum(type) ? btf_enum(type)[index].name_off : btf_enum64(type)[index].name_off);
}

/** The type that __type(key, …) or __type(value, …) points to in a map's definition; 0 if it has none. */
uint32_t declared_type(const struct btf *btf, const Type *definition, const std::string &field) {
  for (uint32_t i = 0; i < btf_vlen(definition); i++) {
    const struct btf_member *member = btf_members(definition) + i;
    if (name_at(btf, member->name_off) != field) continue;
    const Type *pointer = resolved(btf, member->type);
    return pointer != nullptr && btf_is_ptr(pointer) ? pointer->type : 0;
  }
  return 0;
}

/** The struct that declares a map in the section .maps. */
const Type *map_definition(const struct btf *btf, const std::string &map_name) {
  int id = btf__find_by_name_kind(btf, ".maps", BTF_KIND_DATASEC);
  if (id < 0) return nullptr;
  const Type *section = btf__type_by_id(btf, static_cast<uint32_t>(id));
  for (uint32_t i = 0; i < btf_vlen(section); i++) {
    const Type *variable = btf__type_by_id(btf, btf_var_secinfos(section)[i].type);
    if (name_at(btf, variable->name_off) != map_name) continue;
    const Type *definition = resolved(btf, variable->type);
    return definition != nullptr && btf_is_composite(definition) ? definition : nullptr;
  }
  return nullptr;
}

Napi::Value btf_of_map(const Napi::CallbackInfo &info) {
  Map &map = Map::of(info[0]);
  map.fd("btf of map");
  const struct bpf_map_info &shape = map.shape();
  if (shape.btf_id == 0) return info.Env().Null();
  struct btf *btf = btf__load_from_kernel_by_id(shape.btf_id);
  if (btf == nullptr) throw_errno(info.Env(), "btf of map", errno);
  return BtfTypes::wrap(info.Env(), {.btf = btf,
                                     .map_name = shape.name,
                                     .key_type_id = shape.btf_key_type_id,
                                     .value_type_id = shape.btf_value_type_id});
}

Napi::Value btf_of_vmlinux(const Napi::CallbackInfo &info) {
  LibbpfLog log;
  struct btf *btf = btf__load_vmlinux_btf();
  if (btf == nullptr) {
    int error = errno;
    throw_bpf_error(info.Env(), {.operation = "btf of vmlinux", .error = error, .log = log.take()});
  }
  return BtfTypes::wrap(info.Env(), {.btf = btf});
}

}  // namespace

BtfTypes::BtfTypes(const Napi::CallbackInfo &info) : ObjectWrap(info) {
  if (!info[0].IsExternal()) throw_type_error(info.Env(), "not constructible from JavaScript");
  auto *source = info[0].As<Napi::External<BtfSource>>().Data();
  source_ = *source;
  source->btf = nullptr;
}

Napi::Object BtfTypes::wrap(Napi::Env env, BtfSource source) {
  try {
    return addon_of(env).btf.New({Napi::External<BtfSource>::New(env, &source)});
  } catch (...) {
    btf__free(source.btf);
    throw;
  }
}

const struct btf *BtfTypes::open(const char *operation) const {
  if (source_.btf == nullptr) throw_errno(Env(), operation, EBADF);
  return source_.btf;
}

Napi::Value BtfTypes::find_struct(const Napi::CallbackInfo &info) {
  const struct btf *btf = open("btf struct");
  const Type *type = find_composite(btf, string_of(info[0], "name"));
  if (type == nullptr) return info.Env().Null();
  Napi::Array members = Napi::Array::New(info.Env());
  append_members(btf, type, 0, members);
  Napi::Object result = Napi::Object::New(info.Env());
  result["name"] = name_at(btf, type->name_off);
  result["size"] = type->size;
  result["members"] = members;
  return result;
}

Napi::Value BtfTypes::find_enum(const Napi::CallbackInfo &info) {
  const struct btf *btf = open("btf enum");
  const Type *type = find_enumeration(btf, string_of(info[0], "name"));
  if (type == nullptr) return info.Env().Null();
  Napi::Object result = Napi::Object::New(info.Env());
  for (uint32_t i = 0; i < btf_vlen(type); i++) result[enum_name(btf, type, i)] = enum_value(type, i);
  return result;
}

Napi::Value BtfTypes::struct_name(uint32_t type_id) const {
  const Type *type = type_id == 0 ? nullptr : resolved(source_.btf, type_id);
  if (type == nullptr || !btf_is_composite(type)) return Env().Null();
  std::string name = name_at(source_.btf, type->name_off);
  if (name.empty()) name = written_name(source_.btf, type_id);
  return name.empty() ? Env().Null() : Napi::String::New(Env(), name).As<Napi::Value>();
}

Napi::Value BtfTypes::map_types(const Napi::CallbackInfo &info) {
  const struct btf *btf = open("btf map types");
  std::string name = string_of(info[0], "mapName");
  uint32_t key = source_.key_type_id;
  uint32_t value = source_.value_type_id;
  // The kernel keeps 15 characters of a map's name.
  bool is_own_map = !source_.map_name.empty() && name.substr(0, BPF_OBJ_NAME_LEN - 1) == source_.map_name;
  if (!is_own_map || value == 0) {
    const Type *definition = map_definition(btf, name);
    if (definition == nullptr) return info.Env().Null();
    key = declared_type(btf, definition, "key");
    value = declared_type(btf, definition, "value");
  }
  Napi::Object result = Napi::Object::New(info.Env());
  result["key"] = struct_name(key);
  result["value"] = struct_name(value);
  return result;
}

void BtfTypes::close(const Napi::CallbackInfo &) { btf__free(std::exchange(source_.btf, nullptr)); }

Napi::Function BtfTypes::define(Napi::Env env) {
  return DefineClass(env, "Btf",
                     {
                         InstanceMethod("struct", &BtfTypes::find_struct),
                         InstanceMethod("enum", &BtfTypes::find_enum),
                         InstanceMethod("mapTypes", &BtfTypes::map_types),
                         InstanceMethod("close", &BtfTypes::close),
                     });
}

void init_btf(Napi::Env env, Napi::Object exports) {
  addon_of(env).btf = Napi::Persistent(BtfTypes::define(env));
  exports["btfOfMap"] = Napi::Function::New(env, btf_of_map, "btfOfMap");
  exports["btfOfVmlinux"] = Napi::Function::New(env, btf_of_vmlinux, "btfOfVmlinux");
}

}  // namespace libbpf_ts
