// SPDX-License-Identifier: Apache-2.0
// The module's entry: everything the TypeScript face imports is put into exports here.
#include "addon.h"

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  using namespace libbpf_ts;
  env.SetInstanceData(new Addon());
  init_error(env, exports);
  init_object(env, exports);
  init_map(env, exports);
  init_mmap(env, exports);
  init_program(env, exports);
  init_link(env, exports);
  init_cgroup(env, exports);
  init_clsact(env, exports);
  init_ringbuf(env, exports);
  init_btf(env, exports);
  init_iterator(env, exports);
  init_probe(env, exports);
  init_grace(env, exports);
  init_netlink(env, exports);
  init_netlink_exchange(env, exports);
  init_sys_file(env, exports);
  init_sys_mount(env, exports);
  init_sys_socket(env, exports);
  init_sys_namespace(env, exports);
  init_sys_clock(env, exports);
  init_sys_memory(env, exports);
  init_sanitizer(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(libbpf_ts, init)
