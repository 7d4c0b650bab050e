// SPDX-License-Identifier: Apache-2.0
#include "names.h"

#include <bpf/libbpf.h>

#include <array>
#include <charconv>
#include <span>

#include "args.h"
#include "error.h"

namespace libbpf_ts {

namespace {

struct Newer {
  uint32_t number;
  const char *name;
};

// What kernels up to 6.18 have and libbpf 1.1's own tables lack.
constexpr std::array kNewerMaps{Newer{32, "cgrp_storage"}, Newer{33, "arena"}};
constexpr std::array kNewerPrograms{Newer{32, "netfilter"}};
constexpr std::array kNewerAttach{
    Newer{44, "struct_ops"},
    Newer{45, "netfilter"},
    Newer{kAttachTcxIngress, "tcx_ingress"},
    Newer{kAttachTcxEgress, "tcx_egress"},
    Newer{48, "trace_uprobe_multi"},
    Newer{49, "cgroup_unix_connect"},
    Newer{50, "cgroup_unix_sendmsg"},
    Newer{51, "cgroup_unix_recvmsg"},
    Newer{52, "cgroup_unix_getpeername"},
    Newer{53, "cgroup_unix_getsockname"},
    Newer{54, "netkit_primary"},
    Newer{55, "netkit_peer"},
};
constexpr std::array kNewerLinks{
    Newer{9, "struct_ops"},    Newer{10, "netfilter"}, Newer{kLinkTypeTcx, "tcx"},
    Newer{12, "uprobe_multi"}, Newer{13, "netkit"},    Newer{14, "sockmap"},
};
constexpr uint32_t kTypesAtMost = 128;

/** One family of types: what libbpf calls them, and what is newer than it. */
struct Family {
  const char *kind;
  const char *(*libbpf_name)(uint32_t);
  std::span<const Newer> newer;

  std::string name(uint32_t number) const {
    if (const char *known = libbpf_name(number)) return known;
    for (const Newer &entry : newer)
      if (entry.number == number) return entry.name;
    return std::to_string(number);
  }

  uint32_t number(Napi::Value value) const {
    std::string wanted = string_of(value, kind);
    for (uint32_t i = 0; i < kTypesAtMost; i++)
      if (name(i) == wanted) return i;
    uint32_t decimal = 0;
    auto [end, error] = std::from_chars(wanted.data(), wanted.data() + wanted.size(), decimal);
    if (error == std::errc() && end == wanted.data() + wanted.size()) return decimal;
    throw_type_error(value.Env(), "unknown " + std::string(kind) + " \"" + wanted + "\"");
  }
};

const Family kMaps{"map type",
                   [](uint32_t n) { return libbpf_bpf_map_type_str(static_cast<enum bpf_map_type>(n)); },
                   kNewerMaps};
const Family kPrograms{
    "program type", [](uint32_t n) { return libbpf_bpf_prog_type_str(static_cast<enum bpf_prog_type>(n)); },
    kNewerPrograms};
const Family kAttach{
    "attach type",
    [](uint32_t n) { return libbpf_bpf_attach_type_str(static_cast<enum bpf_attach_type>(n)); },
    kNewerAttach};
const Family kLinks{"link type",
                    [](uint32_t n) { return libbpf_bpf_link_type_str(static_cast<enum bpf_link_type>(n)); },
                    kNewerLinks};

}  // namespace

std::string map_type_name(uint32_t type) { return kMaps.name(type); }
std::string program_type_name(uint32_t type) { return kPrograms.name(type); }
std::string attach_type_name(uint32_t type) { return kAttach.name(type); }
std::string link_type_name(uint32_t type) { return kLinks.name(type); }

uint32_t map_type_of(Napi::Value name) { return kMaps.number(name); }
uint32_t program_type_of(Napi::Value name) { return kPrograms.number(name); }
uint32_t attach_type_of(Napi::Value name) { return kAttach.number(name); }

}  // namespace libbpf_ts
