// SPDX-License-Identifier: Apache-2.0
// What one JavaScript environment (main thread or worker) keeps of the addon: its constructors, and each
// subject's entry point.
#pragma once

#include <napi.h>

namespace libbpf_ts {

/** Lives as long as its environment; one for each thread that loads the addon. */
struct Addon {
  Napi::FunctionReference error_class;
  Napi::FunctionReference object;
  Napi::FunctionReference map;
  Napi::FunctionReference mmap_view;
  Napi::FunctionReference program;
  Napi::FunctionReference link;
  Napi::FunctionReference btf;
};

inline Addon &addon_of(Napi::Env env) { return *env.GetInstanceData<Addon>(); }

// Each puts its functions and classes into exports.
void init_error(Napi::Env env, Napi::Object exports);
void init_object(Napi::Env env, Napi::Object exports);
void init_map(Napi::Env env, Napi::Object exports);
void init_mmap(Napi::Env env, Napi::Object exports);
void init_program(Napi::Env env, Napi::Object exports);
void init_link(Napi::Env env, Napi::Object exports);
void init_cgroup(Napi::Env env, Napi::Object exports);
void init_clsact(Napi::Env env, Napi::Object exports);
void init_ringbuf(Napi::Env env, Napi::Object exports);
void init_btf(Napi::Env env, Napi::Object exports);
void init_iterator(Napi::Env env, Napi::Object exports);
void init_probe(Napi::Env env, Napi::Object exports);
void init_grace(Napi::Env env, Napi::Object exports);
void init_netlink(Napi::Env env, Napi::Object exports);
void init_netlink_exchange(Napi::Env env, Napi::Object exports);
void init_sys_file(Napi::Env env, Napi::Object exports);
void init_sys_mount(Napi::Env env, Napi::Object exports);
void init_sys_socket(Napi::Env env, Napi::Object exports);
void init_sys_namespace(Napi::Env env, Napi::Object exports);
void init_sys_clock(Napi::Env env, Napi::Object exports);
void init_sys_memory(Napi::Env env, Napi::Object exports);
void init_sanitizer(Napi::Env env, Napi::Object exports);

}  // namespace libbpf_ts
