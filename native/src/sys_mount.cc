// SPDX-License-Identifier: Apache-2.0
// Mounts, and what a path is mounted from.
#include <sys/mount.h>
#include <sys/vfs.h>

#include <cerrno>

#include "addon.h"
#include "args.h"
#include "error.h"

namespace libbpf_ts {

namespace {

// mount(source, target, type, flags, data)
void mount_at(const Napi::CallbackInfo &info) {
  std::string source = string_of(info[0], "source");
  std::string target = string_of(info[1], "target");
  std::string type = string_of(info[2], "type");
  uint32_t flags = u32_of(info[3], "flags");
  std::string data = string_of(info[4], "data");
  if (mount(source.c_str(), target.c_str(), type.c_str(), flags, data.c_str()) != 0)
    throw_errno(info.Env(), "mount", errno);
}

void unmount(const Napi::CallbackInfo &info) {
  std::string target = string_of(info[0], "target");
  int flags = static_cast<int>(unsigned_of(info[1], "flags", INT32_MAX));
  if (umount2(target.c_str(), flags) != 0) throw_errno(info.Env(), "umount", errno);
}

Napi::Value statfs_type(const Napi::CallbackInfo &info) {
  struct statfs found = {};
  if (statfs(string_of(info[0], "path").c_str(), &found) != 0) throw_errno(info.Env(), "statfs", errno);
  return Napi::Number::New(info.Env(), static_cast<uint32_t>(found.f_type));
}

}  // namespace

void init_sys_mount(Napi::Env env, Napi::Object exports) {
  exports["mount"] = Napi::Function::New<mount_at>(env, "mount");
  exports["umount"] = Napi::Function::New<unmount>(env, "umount");
  exports["statfsType"] = Napi::Function::New(env, statfs_type, "statfsType");
}

}  // namespace libbpf_ts
