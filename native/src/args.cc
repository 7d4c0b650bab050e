// SPDX-License-Identifier: Apache-2.0
#include "args.h"

#include <climits>
#include <cmath>
#include <cstring>

#include "error.h"

namespace libbpf_ts {

Bytes bytes_of(Napi::Value value, const char *name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
    throw_type_error(value.Env(), std::string(name) + " must be a Uint8Array");
  auto array = value.As<Napi::Uint8Array>();
  return {array.Data(), array.ByteLength()};
}

Bytes bytes_of(Napi::Value value, const char *name, size_t size) {
  Bytes bytes = bytes_of(value, name);
  if (bytes.size != size)
    throw_range_error(value.Env(), std::string(name) + " must be " + std::to_string(size) + " bytes, not " +
                                       std::to_string(bytes.size));
  return bytes;
}

std::string string_of(Napi::Value value, const char *name) {
  if (!value.IsString()) throw_type_error(value.Env(), std::string(name) + " must be a string");
  std::string text = value.As<Napi::String>().Utf8Value();
  if (text.find('\0') != std::string::npos)
    throw_type_error(value.Env(), std::string(name) + " must not contain zero bytes");
  return text;
}

uint64_t unsigned_of(Napi::Value value, const char *name, uint64_t max) {
  if (!value.IsNumber()) throw_type_error(value.Env(), std::string(name) + " must be a number");
  double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= 0 && number <= static_cast<double>(max)) || number != std::floor(number))
    throw_range_error(value.Env(),
                      std::string(name) + " must be an integer from 0 to " + std::to_string(max));
  return static_cast<uint64_t>(number);
}

uint32_t u32_of(Napi::Value value, const char *name) {
  return static_cast<uint32_t>(unsigned_of(value, name, UINT32_MAX));
}

int fd_of(Napi::Value value, const char *name) { return static_cast<int>(unsigned_of(value, name, INT_MAX)); }

uint64_t u64_of(Napi::Value value, const char *name) {
  if (!value.IsBigInt()) throw_type_error(value.Env(), std::string(name) + " must be a bigint");
  bool lossless = false;
  uint64_t number = value.As<Napi::BigInt>().Uint64Value(&lossless);
  if (!lossless) throw_range_error(value.Env(), std::string(name) + " must be from 0 to 2^64 - 1");
  return number;
}

bool bool_of(Napi::Value value, const char *name) {
  if (!value.IsBoolean()) throw_type_error(value.Env(), std::string(name) + " must be a boolean");
  return value.As<Napi::Boolean>().Value();
}

Napi::Function function_of(Napi::Value value, const char *name) {
  if (!value.IsFunction()) throw_type_error(value.Env(), std::string(name) + " must be a function");
  return value.As<Napi::Function>();
}

Napi::Uint8Array bytes_to_js(Napi::Env env, const void *data, size_t size) {
  auto array = Napi::Uint8Array::New(env, size);
  if (size > 0) std::memcpy(array.Data(), data, size);
  return array;
}

}  // namespace libbpf_ts
