// SPDX-License-Identifier: Apache-2.0
// Directories as descriptors, and advisory locks.
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "addon.h"
#include "args.h"
#include "error.h"

namespace libbpf_ts {

namespace {

Napi::Value open_dir(const Napi::CallbackInfo &info) {
  int fd = open(string_of(info[0], "path").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) throw_errno(info.Env(), "open directory", errno);
  return Napi::Number::New(info.Env(), fd);
}

void close_fd(const Napi::CallbackInfo &info) {
  if (close(fd_of(info[0], "fd")) != 0) throw_errno(info.Env(), "close", errno);
}

int lock_operation(Napi::Value value) {
  std::string mode = string_of(value, "mode");
  if (mode == "exclusive") return LOCK_EX;
  if (mode == "shared") return LOCK_SH;
  if (mode == "unlock") return LOCK_UN;
  throw_type_error(value.Env(), "mode must be exclusive, shared or unlock");
}

// flock(fd, mode, nonBlocking): false if it would have to wait and must not.
Napi::Value lock_file(const Napi::CallbackInfo &info) {
  int fd = fd_of(info[0], "fd");
  int operation = lock_operation(info[1]) | (bool_of(info[2], "nonBlocking") ? LOCK_NB : 0);
  int result;
  do {
    result = flock(fd, operation);
  } while (result != 0 && errno == EINTR);
  if (result != 0 && errno != EWOULDBLOCK) throw_errno(info.Env(), "flock", errno);
  return Napi::Boolean::New(info.Env(), result == 0);
}

}  // namespace

void init_sys_file(Napi::Env env, Napi::Object exports) {
  exports["openDir"] = Napi::Function::New(env, open_dir, "openDir");
  exports["close"] = Napi::Function::New<close_fd>(env, "close");
  exports["flock"] = Napi::Function::New(env, lock_file, "flock");
}

}  // namespace libbpf_ts
