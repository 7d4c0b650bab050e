// SPDX-License-Identifier: Apache-2.0
// Loaded programs: what the kernel says of them, running them on given input, attaching them by links.
#include "program.h"

#include <bpf/bpf.h>
#include <fcntl.h>

#include <climits>
#include <vector>

#include "link.h"
#include "names.h"

namespace libbpf_ts {

namespace {

struct ProgramInfo {
  struct bpf_prog_info info = {};
  std::vector<uint32_t> map_ids;
};

ProgramInfo read_info(Napi::Env env, int fd) {
  ProgramInfo result;
  uint32_t size = sizeof(result.info);
  if (bpf_obj_get_info_by_fd(fd, &result.info, &size) != 0) throw_errno(env, "program info", errno);
  result.map_ids.resize(result.info.nr_map_ids);
  if (result.map_ids.empty()) return result;
  result.info = {};
  result.info.nr_map_ids = static_cast<uint32_t>(result.map_ids.size());
  result.info.map_ids = reinterpret_cast<uintptr_t>(result.map_ids.data());
  size = sizeof(result.info);
  if (bpf_obj_get_info_by_fd(fd, &result.info, &size) != 0) throw_errno(env, "program info", errno);
  return result;
}

std::string hex(const uint8_t *bytes, size_t size) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (size_t i = 0; i < size; i++) {
    text += kDigits[bytes[i] >> 4];
    text += kDigits[bytes[i] & 15];
  }
  return text;
}

Napi::Value open_program(const Napi::CallbackInfo &info) {
  return Program::wrap(info.Env(), open_pinned(info.Env(), info[0], "open program", Program::kKind));
}

Napi::Value open_program_by_id(const Napi::CallbackInfo &info) {
  UniqueFd fd(bpf_prog_get_fd_by_id(u32_of(info[0], "id")));
  if (!fd.valid()) throw_errno(info.Env(), "open program by id", errno);
  return Program::wrap(info.Env(), std::move(fd));
}

/** Input or output of a test run: empty means absent. */
Bytes optional_bytes(Napi::Value value, const char *name) {
  return is_absent(value) ? Bytes{nullptr, 0} : bytes_of(value, name);
}

Napi::Value output(Napi::Env env, const std::vector<uint8_t> &buffer, size_t size, bool present) {
  if (!present) return env.Null();
  return bytes_to_js(env, buffer.data(), std::min(size, buffer.size()));
}

}  // namespace

Napi::Value Program::info(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  ProgramInfo program = read_info(env, fd("program info"));
  const struct bpf_prog_info &kernel = program.info;
  Napi::Array map_ids = Napi::Array::New(env, program.map_ids.size());
  for (uint32_t i = 0; i < program.map_ids.size(); i++) map_ids[i] = program.map_ids[i];
  Napi::Object result = Napi::Object::New(env);
  result["id"] = kernel.id;
  result["type"] = program_type_name(kernel.type);
  result["name"] = std::string(kernel.name);
  result["tag"] = hex(kernel.tag, sizeof(kernel.tag));
  result["verifiedInstructions"] = kernel.verified_insns;
  result["xlatedBytes"] = kernel.xlated_prog_len;
  result["jitedBytes"] = kernel.jited_prog_len;
  result["mapIds"] = map_ids;
  result["runCount"] = Napi::BigInt::New(env, static_cast<uint64_t>(kernel.run_cnt));
  result["runTimeNs"] = Napi::BigInt::New(env, static_cast<uint64_t>(kernel.run_time_ns));
  result["loadTimeNs"] = Napi::BigInt::New(env, static_cast<uint64_t>(kernel.load_time));
  result["createdByUid"] = kernel.created_by_uid;
  return result;
}

// testRun(data | null, ctx | null, repeat, dataOutBytes)
Napi::Value Program::test_run(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  int program = fd("test run");
  Bytes data = optional_bytes(info[0], "data");
  Bytes ctx = optional_bytes(info[1], "ctx");
  std::vector<uint8_t> data_out(u32_of(info[3], "dataOutBytes"));
  std::vector<uint8_t> ctx_out(ctx.size);
  LIBBPF_OPTS(bpf_test_run_opts, opts);
  opts.data_in = data.data;
  opts.data_size_in = static_cast<uint32_t>(data.size);
  opts.ctx_in = ctx.data;
  opts.ctx_size_in = static_cast<uint32_t>(ctx.size);
  opts.repeat = static_cast<int>(unsigned_of(info[2], "repeat", INT_MAX));
  if (data.size > 0 && !data_out.empty()) {
    opts.data_out = data_out.data();
    opts.data_size_out = static_cast<uint32_t>(data_out.size());
  }
  if (ctx.size > 0) {
    opts.ctx_out = ctx_out.data();
    opts.ctx_size_out = static_cast<uint32_t>(ctx_out.size());
  }
  int status = bpf_prog_test_run_opts(program, &opts);
  if (status != 0) throw_errno(env, "test run", -status);
  Napi::Object result = Napi::Object::New(env);
  result["returnValue"] = opts.retval;
  result["durationNs"] = opts.duration;
  result["data"] = output(env, data_out, opts.data_size_out, opts.data_out != nullptr);
  result["ctx"] = output(env, ctx_out, opts.ctx_size_out, opts.ctx_out != nullptr);
  return result;
}

Napi::Value Program::attach_cgroup(const Napi::CallbackInfo &info) {
  int program = fd("attach cgroup");
  UniqueFd cgroup(::open(string_of(info[0], "cgroupDir").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!cgroup.valid()) throw_errno(info.Env(), "attach cgroup", errno);
  uint32_t type = attach_type_of(info[1]);
  UniqueFd link(bpf_link_create(program, cgroup.get(), static_cast<enum bpf_attach_type>(type), nullptr));
  if (!link.valid()) throw_errno(info.Env(), "attach cgroup", errno);
  return Link::wrap(info.Env(), std::move(link));
}

Napi::Value Program::attach_tcx(const Napi::CallbackInfo &info) {
  int program = fd("attach tcx");
  uint32_t ifindex = u32_of(info[0], "ifindex");
  uint32_t type = bool_of(info[1], "ingress") ? kAttachTcxIngress : kAttachTcxEgress;
  UniqueFd link(
      bpf_link_create(program, static_cast<int>(ifindex), static_cast<enum bpf_attach_type>(type), nullptr));
  if (!link.valid()) throw_errno(info.Env(), "attach tcx", errno);
  return Link::wrap(info.Env(), std::move(link));
}

Napi::Value Program::attach_xdp(const Napi::CallbackInfo &info) {
  int program = fd("attach xdp");
  uint32_t ifindex = u32_of(info[0], "ifindex");
  LIBBPF_OPTS(bpf_link_create_opts, opts);
  opts.flags = u32_of(info[1], "flags");
  UniqueFd link(bpf_link_create(program, static_cast<int>(ifindex), BPF_XDP, &opts));
  if (!link.valid()) throw_errno(info.Env(), "attach xdp", errno);
  return Link::wrap(info.Env(), std::move(link));
}

Napi::Function Program::define(Napi::Env env) {
  return DefineClass(env, "Program",
                     {
                         InstanceAccessor("fd", &Program::get_fd, nullptr),
                         InstanceAccessor("info", &Program::info, nullptr),
                         InstanceMethod("testRun", &Program::test_run),
                         InstanceMethod("attachCgroup", &Program::attach_cgroup),
                         InstanceMethod("attachTcx", &Program::attach_tcx),
                         InstanceMethod("attachXdp", &Program::attach_xdp),
                         InstanceMethod("pin", &Program::pin),
                         InstanceMethod("close", &Program::close),
                     });
}

void init_program(Napi::Env env, Napi::Object exports) {
  addon_of(env).program = Napi::Persistent(Program::define(env));
  exports["openProgram"] = Napi::Function::New(env, open_program, "openProgram");
  exports["openProgramById"] = Napi::Function::New(env, open_program_by_id, "openProgramById");
}

}  // namespace libbpf_ts
