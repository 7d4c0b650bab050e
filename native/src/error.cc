// SPDX-License-Identifier: Apache-2.0
#include "error.h"

#include <bpf/libbpf.h>

#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <mutex>

#include "addon.h"

namespace libbpf_ts {

namespace {

constexpr int kNotSupportedInKernel = 524;  // ENOTSUPP: not in errno.h, yet bpf(2) returns it
constexpr std::string_view kPrefix = "libbpf: ";

thread_local LibbpfLog *current_log = nullptr;

/** libbpf prints the verifier's log as a warning if loading failed, else as a debug message. */
bool worth_keeping(enum libbpf_print_level level, const char *format) {
  return level != LIBBPF_DEBUG || std::strstr(format, "PROG LOAD LOG") != nullptr;
}

int print(enum libbpf_print_level level, const char *format, va_list args) {
  if (current_log == nullptr || !worth_keeping(level, format)) return 0;
  va_list measure;
  va_copy(measure, args);
  int length = std::vsnprintf(nullptr, 0, format, measure);
  va_end(measure);
  if (length <= 0) return 0;
  std::string text(static_cast<size_t>(length) + 1, '\0');
  std::vsnprintf(text.data(), text.size(), format, args);
  text.pop_back();
  std::string_view kept = text;
  if (kept.starts_with(kPrefix)) kept.remove_prefix(kPrefix.size());
  current_log->append(kept);
  return length;
}

Napi::Value set_error_class(const Napi::CallbackInfo &info) {
  addon_of(info.Env()).error_class = Napi::Persistent(info[0].As<Napi::Function>());
  return info.Env().Null();
}

}  // namespace

LibbpfLog::LibbpfLog() : outer_(current_log) { current_log = this; }

LibbpfLog::~LibbpfLog() { current_log = outer_; }

std::string LibbpfLog::take() {
  std::string text = std::move(text_);
  text_.clear();
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

std::string errno_code(int error) {
  if (error == kNotSupportedInKernel) return "ENOTSUPP";
  const char *name = strerrorname_np(error);
  return name != nullptr ? name : "E" + std::to_string(error);
}

Napi::Error bpf_error(Napi::Env env, const Failure &failure) {
  Napi::Object init = Napi::Object::New(env);
  init["operation"] = failure.operation;
  init["errno"] = failure.error;
  init["code"] = errno_code(failure.error);
  init["log"] = failure.log.empty() ? env.Null() : Napi::String::New(env, failure.log).As<Napi::Value>();
  init["count"] = failure.count ? Napi::Number::New(env, *failure.count).As<Napi::Value>() : env.Null();
  return Napi::Error(env, addon_of(env).error_class.New({init}));
}

void throw_bpf_error(Napi::Env env, const Failure &failure) { throw bpf_error(env, failure); }

void throw_errno(Napi::Env env, const char *operation, int error) {
  throw bpf_error(env, Failure{.operation = operation, .error = error});
}

void throw_type_error(Napi::Env env, const std::string &message) { throw Napi::TypeError::New(env, message); }

void throw_range_error(Napi::Env env, const std::string &message) {
  throw Napi::RangeError::New(env, message);
}

void init_error(Napi::Env env, Napi::Object exports) {
  static std::once_flag once;
  std::call_once(once, [] { libbpf_set_print(print); });
  exports["setErrorClass"] = Napi::Function::New(env, set_error_class, "setErrorClass");
}

}  // namespace libbpf_ts
