// SPDX-License-Identifier: Apache-2.0
// Programs on a device's clsact qdisc: what came before tcx links. They stay until they are detached.
#include <bpf/libbpf.h>

#include "addon.h"
#include "args.h"
#include "error.h"
#include "program.h"

namespace libbpf_ts {

namespace {

struct bpf_tc_hook hook_of(Napi::Value ifindex, Napi::Value ingress) {
  LIBBPF_OPTS(bpf_tc_hook, hook);
  hook.ifindex = static_cast<int>(u32_of(ifindex, "ifindex"));
  hook.attach_point = bool_of(ingress, "ingress") ? BPF_TC_INGRESS : BPF_TC_EGRESS;
  return hook;
}

// attachClsact(program, ifindex, ingress, handle, priority)
void attach_clsact(const Napi::CallbackInfo &info) {
  int program = Program::of(info[0]).fd("attach clsact");
  struct bpf_tc_hook hook = hook_of(info[1], info[2]);
  LIBBPF_OPTS(bpf_tc_opts, opts);
  opts.prog_fd = program;
  opts.flags = BPF_TC_F_REPLACE;
  opts.handle = u32_of(info[3], "handle");
  opts.priority = u32_of(info[4], "priority");
  LibbpfLog log;
  int result = bpf_tc_hook_create(&hook);
  if (result == 0 || result == -EEXIST) result = bpf_tc_attach(&hook, &opts);
  if (result != 0)
    throw_bpf_error(info.Env(), {.operation = "attach clsact", .error = -result, .log = log.take()});
}

// detachClsact(ifindex, ingress, handle, priority)
void detach_clsact(const Napi::CallbackInfo &info) {
  struct bpf_tc_hook hook = hook_of(info[0], info[1]);
  LIBBPF_OPTS(bpf_tc_opts, opts);
  opts.handle = u32_of(info[2], "handle");
  opts.priority = u32_of(info[3], "priority");
  LibbpfLog log;
  int result = bpf_tc_detach(&hook, &opts);
  if (result != 0)
    throw_bpf_error(info.Env(), {.operation = "detach clsact", .error = -result, .log = log.take()});
}

}  // namespace

void init_clsact(Napi::Env env, Napi::Object exports) {
  exports["attachClsact"] = Napi::Function::New<attach_clsact>(env, "attachClsact");
  exports["detachClsact"] = Napi::Function::New<detach_clsact>(env, "detachClsact");
}

}  // namespace libbpf_ts
