// SPDX-License-Identifier: Apache-2.0
// File descriptors with an owner: in C++ (UniqueFd), and as JavaScript objects that close by hand or by
// garbage collection.
#pragma once

#include <napi.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "args.h"
#include "error.h"

namespace libbpf_ts {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd &&other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd &operator=(UniqueFd &&other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  void reset() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_ = -1;
};

/** What /proc calls an open BPF file: "bpf-map", "bpf-prog", "bpf-link". Throws if fd is none of the wanted
 * kind. */
void require_kind(Napi::Env env, const char *operation, int fd, const char *kind);

/** A pinned file of this kind. */
UniqueFd open_pinned(Napi::Env env, Napi::Value path, const char *operation, const char *kind);
void pin_fd(Napi::Env env, int fd, Napi::Value path, const char *operation);

/** A JavaScript object that owns one descriptor. T is the class itself; it has `static constexpr const char
 * *kKind`. */
template <class T>
class Handle : public Napi::ObjectWrap<T> {
 public:
  /** For T::create only: takes the descriptor out of the external. */
  explicit Handle(const Napi::CallbackInfo &info) : Napi::ObjectWrap<T>(info) {
    if (!info[0].IsExternal()) throw_type_error(info.Env(), "not constructible from JavaScript");
    fd_ = std::move(*info[0].As<Napi::External<UniqueFd>>().Data());
  }

  /** A new JavaScript object around fd. */
  static Napi::Object create(Napi::FunctionReference &constructor, UniqueFd fd) {
    return constructor.New({Napi::External<UniqueFd>::New(constructor.Env(), &fd)});
  }

  /** The descriptor; throws EBADF once closed. */
  int fd(const char *operation) const {
    if (!fd_.valid()) throw_errno(this->Env(), operation, EBADF);
    return fd_.get();
  }

  /** The C++ side of a JavaScript value; TypeError if it is something else. */
  static T &from(Napi::Value value, Napi::FunctionReference &constructor, const char *name) {
    if (!value.IsObject() || !value.As<Napi::Object>().InstanceOf(constructor.Value()))
      throw_type_error(value.Env(), std::string(name) + " is of the wrong class");
    return *T::Unwrap(value.As<Napi::Object>());
  }

 protected:
  Napi::Value get_fd(const Napi::CallbackInfo &info) { return Napi::Number::New(info.Env(), fd("fd")); }
  void close(const Napi::CallbackInfo &) { fd_.reset(); }
  void pin(const Napi::CallbackInfo &info) { pin_fd(info.Env(), fd("pin"), info[0], "pin"); }

  UniqueFd fd_;
};

}  // namespace libbpf_ts
