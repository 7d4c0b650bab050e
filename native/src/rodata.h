// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <napi.h>

#include <string>

struct bpf_object;

namespace libbpf_ts {

/**
 * Writes the initial value of a `const volatile` global of an object that is not loaded yet. ENOENT if there
 * is no such variable, RangeError or TypeError if the value does not fit its type.
 */
void write_rodata(struct bpf_object *object, const std::string &variable, Napi::Value value);

}  // namespace libbpf_ts
