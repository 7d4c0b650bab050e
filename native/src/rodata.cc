// SPDX-License-Identifier: Apache-2.0
// Where a constant lies in an object's read-only data, and how a JavaScript value becomes its bytes.
#include "rodata.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include <cmath>
#include <cstring>

#include "args.h"
#include "error.h"

namespace libbpf_ts {

namespace {

struct Variable {
  uint8_t *bytes;
  uint32_t size;
  const struct btf_type *type;
};

/** The variable in one data section, if the map is a .rodata section and holds it. */
bool find_in(const struct btf *btf, const struct bpf_map *map, const std::string &name, Variable *found) {
  const struct btf_type *section = btf__type_by_id(btf, bpf_map__btf_value_type_id(map));
  if (section == nullptr || !btf_is_datasec(section)) return false;
  if (!std::string_view(btf__name_by_offset(btf, section->name_off)).starts_with(".rodata")) return false;
  size_t size = 0;
  // libbpf 1.1 wants a non-const map here, later ones do not.
  auto *data = static_cast<uint8_t *>(
      const_cast<void *>(bpf_map__initial_value(const_cast<struct bpf_map *>(map), &size)));
  const struct btf_var_secinfo *place = btf_var_secinfos(section);
  for (uint32_t i = 0; i < btf_vlen(section); i++, place++) {
    const struct btf_type *var = btf__type_by_id(btf, place->type);
    if (name != btf__name_by_offset(btf, var->name_off)) continue;
    if (data == nullptr || place->offset + static_cast<size_t>(place->size) > size) return false;
    *found = {data + place->offset, place->size, btf__type_by_id(btf, btf__resolve_type(btf, var->type))};
    return true;
  }
  return false;
}

bool is_integer(const struct btf_type *type) {
  return type != nullptr && (btf_is_int(type) || btf_is_enum(type) || btf_is_enum64(type));
}

bool is_signed(const struct btf_type *type) {
  if (btf_is_int(type)) return (btf_int_encoding(type) & BTF_INT_SIGNED) != 0;
  return btf_kflag(type);
}

/** The value as two's complement, and whether it was negative. */
uint64_t integer_bits(Napi::Value value, const std::string &name, bool *negative) {
  if (value.IsBoolean()) return value.As<Napi::Boolean>().Value() ? 1 : 0;
  if (value.IsNumber()) {
    double number = value.As<Napi::Number>().DoubleValue();
    if (number != std::floor(number) || std::abs(number) > 9007199254740991.0)
      throw_range_error(value.Env(), name + " must be a safe integer");
    *negative = number < 0;
    return static_cast<uint64_t>(static_cast<int64_t>(number));
  }
  if (!value.IsBigInt())
    throw_type_error(value.Env(), name + " must be a number, bigint, boolean or Uint8Array");
  bool lossless = false;
  int64_t as_signed = value.As<Napi::BigInt>().Int64Value(&lossless);
  if (lossless) {
    *negative = as_signed < 0;
    return static_cast<uint64_t>(as_signed);
  }
  uint64_t as_unsigned = value.As<Napi::BigInt>().Uint64Value(&lossless);
  if (!lossless) throw_range_error(value.Env(), name + " does not fit 64 bits");
  return as_unsigned;
}

bool is_bool(const struct btf_type *type) {
  return btf_is_int(type) && (btf_int_encoding(type) & BTF_INT_BOOL) != 0;
}

bool fits(uint64_t bits, bool negative, uint32_t size, bool is_signed_type) {
  const uint32_t width = size * 8;
  const uint64_t highest = width == 64 ? UINT64_MAX : (1ULL << width) - 1;
  if (!is_signed_type) return !negative && bits <= highest;
  const uint64_t limit = highest / 2;
  return negative ? ~bits <= limit : bits <= limit;
}

void write_integer(const Variable &variable, Napi::Value value, const std::string &name) {
  if (!is_integer(variable.type) || variable.size > sizeof(uint64_t))
    throw_type_error(value.Env(), name + " is no integer: give a Uint8Array of " +
                                      std::to_string(variable.size) + " bytes");
  bool negative = false;
  uint64_t bits = integer_bits(value, name, &negative);
  if (is_bool(variable.type) && bits > 1) throw_range_error(value.Env(), name + " is a bool");
  if (!fits(bits, negative, variable.size, is_signed(variable.type)))
    throw_range_error(value.Env(), name + " does not fit " + std::to_string(variable.size) + " bytes");
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  bits <<= 64 - variable.size * 8;
#endif
  std::memcpy(variable.bytes, &bits, variable.size);
}

}  // namespace

void write_rodata(struct bpf_object *object, const std::string &name, Napi::Value value) {
  const struct btf *btf = bpf_object__btf(object);
  Variable variable = {};
  bool found = false;
  struct bpf_map *map;
  bpf_object__for_each_map(map, object) {
    if (btf != nullptr && !found) found = find_in(btf, map, name, &variable);
  }
  if (!found)
    throw_bpf_error(value.Env(),
                    {.operation = "set rodata", .error = ENOENT, .log = "no constant \"" + name + "\""});
  if (!value.IsTypedArray()) return write_integer(variable, value, name);
  Bytes bytes = bytes_of(value, name.c_str(), variable.size);
  if (bytes.size > 0) std::memcpy(variable.bytes, bytes.data, bytes.size);
}

}  // namespace libbpf_ts
