// SPDX-License-Identifier: Apache-2.0
#include "handle.h"

#include <bpf/bpf.h>

#include <algorithm>
#include <climits>

namespace libbpf_ts {

void require_kind(Napi::Env env, const char *operation, int fd, const char *kind) {
  std::string path = "/proc/self/fd/" + std::to_string(fd);
  char target[PATH_MAX];
  ssize_t length = readlink(path.c_str(), target, sizeof(target));
  if (length < 0) throw_errno(env, operation, errno);
  std::string found(target, static_cast<size_t>(length));
  std::replace(found.begin(), found.end(), '_', '-');  // a new link is a bpf_link, a reopened one a bpf-link
  if (found.find(kind) == std::string::npos)
    throw_bpf_error(env,
                    {.operation = operation, .error = EINVAL, .log = "it is " + found + ", not " + kind});
}

UniqueFd open_pinned(Napi::Env env, Napi::Value path, const char *operation, const char *kind) {
  UniqueFd fd(bpf_obj_get(string_of(path, "path").c_str()));
  if (!fd.valid()) throw_errno(env, operation, errno);
  require_kind(env, operation, fd.get(), kind);
  return fd;
}

void pin_fd(Napi::Env env, int fd, Napi::Value path, const char *operation) {
  if (bpf_obj_pin(fd, string_of(path, "path").c_str()) != 0) throw_errno(env, operation, errno);
}

}  // namespace libbpf_ts
