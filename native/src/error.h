// SPDX-License-Identifier: Apache-2.0
// How a failed call becomes a JavaScript BpfError, and how libbpf's messages are caught on their way to
// stderr.
#pragma once

#include <napi.h>

#include <optional>
#include <string>

namespace libbpf_ts {

/** A failed call. error is a positive errno; log is empty if there is none. */
struct Failure {
  std::string operation;
  int error;
  std::string log = {};
  std::optional<uint32_t> count = std::nullopt;
};

/** A new BpfError object, to be thrown or handed to a callback. */
Napi::Error bpf_error(Napi::Env env, const Failure &failure);
[[noreturn]] void throw_bpf_error(Napi::Env env, const Failure &failure);
[[noreturn]] void throw_errno(Napi::Env env, const char *operation, int error);
[[noreturn]] void throw_type_error(Napi::Env env, const std::string &message);
[[noreturn]] void throw_range_error(Napi::Env env, const std::string &message);

/** "ENOSPC" for 28. */
std::string errno_code(int error);

/**
 * While it lives, libbpf's warnings (and verifier logs) of this thread are kept in it instead of being
 * printed. Outside of any such scope libbpf is silent.
 */
class LibbpfLog {
 public:
  LibbpfLog();
  ~LibbpfLog();
  LibbpfLog(const LibbpfLog &) = delete;
  LibbpfLog &operator=(const LibbpfLog &) = delete;

  std::string take();
  void append(std::string_view text) { text_.append(text); }

 private:
  std::string text_;
  LibbpfLog *outer_;
};

}  // namespace libbpf_ts
