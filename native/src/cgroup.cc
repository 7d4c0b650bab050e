// SPDX-License-Identifier: Apache-2.0
// Which programs are attached to a cgroup.
#include <bpf/bpf.h>
#include <fcntl.h>

#include <vector>

#include "addon.h"
#include "handle.h"
#include "names.h"

namespace libbpf_ts {

namespace {

constexpr uint32_t kProgramsAtFirst = 16;

// queryCgroup(cgroupDir, attachType, effective)
Napi::Value query_cgroup(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  UniqueFd cgroup(open(string_of(info[0], "cgroupDir").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!cgroup.valid()) throw_errno(env, "query cgroup", errno);
  auto type = static_cast<enum bpf_attach_type>(attach_type_of(info[1]));
  uint32_t query_flags = bool_of(info[2], "effective") ? BPF_F_QUERY_EFFECTIVE : 0;
  std::vector<uint32_t> ids(kProgramsAtFirst);
  uint32_t attach_flags = 0;
  uint32_t count = 0;
  for (;;) {
    count = static_cast<uint32_t>(ids.size());
    if (bpf_prog_query(cgroup.get(), type, query_flags, &attach_flags, ids.data(), &count) == 0) break;
    // Too short: count now says how many there were a moment ago.
    if (errno != ENOSPC) throw_errno(env, "query cgroup", errno);
    ids.resize(std::max<size_t>(ids.size() * 2, count));
  }
  Napi::Array program_ids = Napi::Array::New(env, count);
  for (uint32_t i = 0; i < count; i++) program_ids[i] = ids[i];
  Napi::Object result = Napi::Object::New(env);
  result["programIds"] = program_ids;
  result["attachFlags"] = attach_flags;
  return result;
}

}  // namespace

void init_cgroup(Napi::Env env, Napi::Object exports) {
  exports["queryCgroup"] = Napi::Function::New(env, query_cgroup, "queryCgroup");
}

}  // namespace libbpf_ts
