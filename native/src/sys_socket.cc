// SPDX-License-Identifier: Apache-2.0
// What sockets tell.
#include <sys/socket.h>

#include <cerrno>

#include "addon.h"
#include "args.h"
#include "error.h"
#include "handle.h"

namespace libbpf_ts {

namespace {

constexpr uint32_t kMaxOption = 64 * 1024;

// A socket of this thread's network namespace carries the namespace's cookie (kernel 5.14).
Napi::Value netns_cookie(const Napi::CallbackInfo &info) {
  UniqueFd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) throw_errno(info.Env(), "netns cookie", errno);
  uint64_t cookie = 0;
  socklen_t size = sizeof(cookie);
  if (getsockopt(fd.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) != 0)
    throw_errno(info.Env(), "netns cookie", errno);
  return Napi::BigInt::New(info.Env(), cookie);
}

// getsockopt(fd, level, name, size): as many bytes as the kernel gave, at most size.
Napi::Value get_socket_option(const Napi::CallbackInfo &info) {
  int fd = fd_of(info[0], "fd");
  int level = fd_of(info[1], "level");
  int name = fd_of(info[2], "name");
  auto size = static_cast<socklen_t>(unsigned_of(info[3], "size", kMaxOption));
  std::vector<uint8_t> value(size);
  if (getsockopt(fd, level, name, value.data(), &size) != 0) throw_errno(info.Env(), "getsockopt", errno);
  return bytes_to_js(info.Env(), value.data(), std::min<size_t>(size, value.size()));
}

}  // namespace

void init_sys_socket(Napi::Env env, Napi::Object exports) {
  exports["netnsCookie"] = Napi::Function::New(env, netns_cookie, "netnsCookie");
  exports["getsockopt"] = Napi::Function::New(env, get_socket_option, "getsockopt");
}

}  // namespace libbpf_ts
