// SPDX-License-Identifier: Apache-2.0
// What this kernel offers to this process, found out by trying.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <unistd.h>

#include <array>
#include <string_view>
#include <vector>

#include "addon.h"
#include "args.h"
#include "error.h"
#include "handle.h"
#include "names.h"

namespace libbpf_ts {

namespace {

constexpr size_t kLogBytes = 64 * 1024;

// Every helper of the headers by name and number; the kernel's list is closed since 6.1 (later additions are
// kfuncs).
constexpr std::array kHelpers{
#define LIBBPF_TS_HELPER(name) std::string_view(#name)
    __BPF_FUNC_MAPPER(LIBBPF_TS_HELPER)
#undef LIBBPF_TS_HELPER
};

uint32_t helper_of(Napi::Value value) {
  std::string name = string_of(value, "helper");
  for (uint32_t i = 0; i < kHelpers.size(); i++)
    if (kHelpers[i] == name) return i;
  throw_type_error(value.Env(), "unknown helper \"" + name + "\"");
}

/** Some types load only with an attach type of their own. */
uint32_t attach_type_for(uint32_t program_type) {
  switch (program_type) {
    case BPF_PROG_TYPE_CGROUP_SOCK_ADDR:
      return BPF_CGROUP_INET4_CONNECT;
    case BPF_PROG_TYPE_CGROUP_SOCKOPT:
      return BPF_CGROUP_GETSOCKOPT;
    case BPF_PROG_TYPE_CGROUP_SOCK:
      return BPF_CGROUP_INET_SOCK_CREATE;
    case BPF_PROG_TYPE_SK_LOOKUP:
      return BPF_SK_LOOKUP;
    default:
      return 0;
  }
}

/** These need a kernel function to attach to before the verifier looks at any instruction. */
bool needs_target(uint32_t program_type) {
  return program_type == BPF_PROG_TYPE_TRACING || program_type == BPF_PROG_TYPE_EXT ||
         program_type == BPF_PROG_TYPE_LSM || program_type == BPF_PROG_TYPE_STRUCT_OPS;
}

/** The verifier's words for a helper that does not exist, or not for this program type (those since 6.9). */
bool says_unknown(std::string_view log) {
  for (std::string_view words : {"invalid func ", "unknown func ", "program of this type cannot use helper "})
    if (log.find(words) != std::string_view::npos) return true;
  return false;
}

// A call without arguments: the verifier objects to the arguments of a helper it knows, to the call of one it
// does not. (libbpf 1.1's own probe does not know the words of newer kernels.)
Napi::Value probe_helper(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  uint32_t type = program_type_of(info[0]);
  uint32_t helper = helper_of(info[1]);
  if (needs_target(type)) throw_errno(env, "probe helper", EOPNOTSUPP);
  std::array<struct bpf_insn, 2> instructions = {};
  instructions[0].code = BPF_JMP | BPF_CALL;
  instructions[0].imm = static_cast<int>(helper);
  instructions[1].code = BPF_JMP | BPF_EXIT;
  std::vector<char> log(kLogBytes);
  LIBBPF_OPTS(bpf_prog_load_opts, opts);
  opts.expected_attach_type = static_cast<enum bpf_attach_type>(attach_type_for(type));
  opts.prog_flags = type == BPF_PROG_TYPE_SYSCALL ? BPF_F_SLEEPABLE : 0;
  opts.log_level = 1;
  opts.log_buf = log.data();
  opts.log_size = static_cast<uint32_t>(log.size());
  UniqueFd program(bpf_prog_load(static_cast<enum bpf_prog_type>(type), nullptr, "GPL", instructions.data(),
                                 instructions.size(), &opts));
  int error = errno;
  std::string_view text(log.data());
  // No word from the verifier: it was not asked, because the type is unknown or not allowed.
  if (!program.valid() && text.empty()) {
    if (error != EINVAL) throw_errno(env, "probe helper", error);
    return Napi::Boolean::New(env, false);
  }
  return Napi::Boolean::New(env, program.valid() || !says_unknown(text));
}

Napi::Value probe_map_type(const Napi::CallbackInfo &info) {
  LibbpfLog log;
  int result = libbpf_probe_bpf_map_type(static_cast<enum bpf_map_type>(map_type_of(info[0])), nullptr);
  if (result < 0)
    throw_bpf_error(info.Env(), {.operation = "probe map type", .error = -result, .log = log.take()});
  return Napi::Boolean::New(info.Env(), result == 1);
}

Napi::Value probe_program_type(const Napi::CallbackInfo &info) {
  LibbpfLog log;
  int result = libbpf_probe_bpf_prog_type(static_cast<enum bpf_prog_type>(program_type_of(info[0])), nullptr);
  if (result < 0)
    throw_bpf_error(info.Env(), {.operation = "probe program type", .error = -result, .log = log.take()});
  return Napi::Boolean::New(info.Env(), result == 1);
}

Napi::Value probe_btf(const Napi::CallbackInfo &info) {
  return Napi::Boolean::New(info.Env(), access("/sys/kernel/btf/vmlinux", R_OK) == 0);
}

Napi::Value libbpf_version(const Napi::CallbackInfo &info) {
  std::string_view text = libbpf_version_string();
  if (text.starts_with("v")) text.remove_prefix(1);
  return Napi::String::New(info.Env(), std::string(text));
}

}  // namespace

void init_probe(Napi::Env env, Napi::Object exports) {
  exports["probeHelper"] = Napi::Function::New(env, probe_helper, "probeHelper");
  exports["probeMapType"] = Napi::Function::New(env, probe_map_type, "probeMapType");
  exports["probeProgramType"] = Napi::Function::New(env, probe_program_type, "probeProgramType");
  exports["probeBtf"] = Napi::Function::New(env, probe_btf, "probeBtf");
  exports["libbpfVersion"] = Napi::Function::New(env, libbpf_version, "libbpfVersion");
}

}  // namespace libbpf_ts
