// SPDX-License-Identifier: Apache-2.0
#include "link.h"

#include <bpf/bpf.h>

#include <cstring>

#include "names.h"
#include "program.h"

namespace libbpf_ts {

namespace {

/** Links to a network device start like this behind the common part of bpf_link_info; headers of 6.1 lack
 * tcx. */
struct DeviceLink {
  uint32_t ifindex;
  uint32_t attach_type;  // tcx only
};

Napi::Value open_link(const Napi::CallbackInfo &info) {
  return Link::wrap(info.Env(), open_pinned(info.Env(), info[0], "open link", Link::kKind));
}

Napi::Value open_link_by_id(const Napi::CallbackInfo &info) {
  UniqueFd fd(bpf_link_get_fd_by_id(u32_of(info[0], "id")));
  if (!fd.valid()) throw_errno(info.Env(), "open link by id", errno);
  return Link::wrap(info.Env(), std::move(fd));
}

/** The attach type, as far as this type of link tells it; else "". */
std::string attach_type(const struct bpf_link_info &link, const DeviceLink &device) {
  switch (link.type) {
    case BPF_LINK_TYPE_CGROUP:
      return attach_type_name(link.cgroup.attach_type);
    case BPF_LINK_TYPE_TRACING:
      return attach_type_name(link.tracing.attach_type);
    case BPF_LINK_TYPE_NETNS:
      return attach_type_name(link.netns.attach_type);
    case BPF_LINK_TYPE_XDP:
      return attach_type_name(BPF_XDP);
    case BPF_LINK_TYPE_ITER:
      return attach_type_name(BPF_TRACE_ITER);
    case kLinkTypeTcx:
      return attach_type_name(device.attach_type);
    default:
      return "";
  }
}

}  // namespace

Napi::Value Link::info(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  struct bpf_link_info link = {};
  uint32_t size = sizeof(link);
  if (bpf_obj_get_info_by_fd(fd("link info"), &link, &size) != 0) throw_errno(env, "link info", errno);
  DeviceLink device;
  std::memcpy(&device, &link.xdp, sizeof(device));
  bool on_device = link.type == BPF_LINK_TYPE_XDP || link.type == kLinkTypeTcx;
  bool on_cgroup = link.type == BPF_LINK_TYPE_CGROUP;
  Napi::Object result = Napi::Object::New(env);
  result["id"] = link.id;
  result["type"] = link_type_name(link.type);
  result["programId"] = link.prog_id;
  result["attachType"] = attach_type(link, device);
  result["cgroupId"] =
      on_cgroup ? Napi::BigInt::New(env, static_cast<uint64_t>(link.cgroup.cgroup_id)).As<Napi::Value>()
                : env.Null();
  result["ifindex"] = on_device ? Napi::Number::New(env, device.ifindex).As<Napi::Value>() : env.Null();
  return result;
}

void Link::update(const Napi::CallbackInfo &info) {
  int link = fd("link update");
  int program = Program::of(info[0]).fd("link update");
  if (bpf_link_update(link, program, nullptr) != 0) throw_errno(info.Env(), "link update", errno);
}

void Link::detach(const Napi::CallbackInfo &info) {
  if (bpf_link_detach(fd("link detach")) != 0) throw_errno(info.Env(), "link detach", errno);
}

Napi::Function Link::define(Napi::Env env) {
  return DefineClass(env, "Link",
                     {
                         InstanceAccessor("fd", &Link::get_fd, nullptr),
                         InstanceAccessor("info", &Link::info, nullptr),
                         InstanceMethod("update", &Link::update),
                         InstanceMethod("detach", &Link::detach),
                         InstanceMethod("pin", &Link::pin),
                         InstanceMethod("close", &Link::close),
                     });
}

void init_link(Napi::Env env, Napi::Object exports) {
  addon_of(env).link = Napi::Persistent(Link::define(env));
  exports["openLink"] = Napi::Function::New(env, open_link, "openLink");
  exports["openLinkById"] = Napi::Function::New(env, open_link_by_id, "openLinkById");
}

}  // namespace libbpf_ts
