// SPDX-License-Identifier: Apache-2.0
// Moving the calling thread into another namespace.
#include <fcntl.h>
#include <sched.h>

#include <cerrno>

#include "addon.h"
#include "handle.h"

namespace libbpf_ts {

namespace {

int clone_flag(Napi::Value value) {
  std::string kind = string_of(value, "kind");
  if (kind == "net") return CLONE_NEWNET;
  if (kind == "mnt") return CLONE_NEWNS;
  if (kind == "cgroup") return CLONE_NEWCGROUP;
  throw_type_error(value.Env(), "kind must be net, mnt or cgroup");
}

// setns(path, kind). Threads that exist already stay where they are.
void set_namespace(const Napi::CallbackInfo &info) {
  int flag = clone_flag(info[1]);
  UniqueFd fd(open(string_of(info[0], "path").c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) throw_errno(info.Env(), "setns", errno);
  // A thread that shares its root and working directory with others cannot change its mount namespace.
  if (flag == CLONE_NEWNS && unshare(CLONE_FS) != 0) throw_errno(info.Env(), "setns", errno);
  if (setns(fd.get(), flag) != 0) throw_errno(info.Env(), "setns", errno);
}

}  // namespace

void init_sys_namespace(Napi::Env env, Napi::Object exports) {
  exports["setns"] = Napi::Function::New<set_namespace>(env, "setns");
}

}  // namespace libbpf_ts
