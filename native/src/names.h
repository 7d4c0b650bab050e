// SPDX-License-Identifier: Apache-2.0
// The names of map, program, attach and link types. A number that has no name here is written in decimal,
// both ways.
#pragma once

#include <napi.h>

#include <cstdint>
#include <string>

namespace libbpf_ts {

std::string map_type_name(uint32_t type);
std::string program_type_name(uint32_t type);
std::string attach_type_name(uint32_t type);
std::string link_type_name(uint32_t type);

// Each throws TypeError for a name that does not exist.
uint32_t map_type_of(Napi::Value name);
uint32_t program_type_of(Napi::Value name);
uint32_t attach_type_of(Napi::Value name);

// Newer than the headers that libbpf 1.1 comes with.
constexpr uint32_t kAttachTcxIngress = 46;
constexpr uint32_t kAttachTcxEgress = 47;
constexpr uint32_t kLinkTypeTcx = 11;

}  // namespace libbpf_ts
