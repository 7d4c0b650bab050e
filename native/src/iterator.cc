// SPDX-License-Identifier: Apache-2.0
// Reading all that an iterator program writes.
#include <bpf/bpf.h>

#include <vector>

#include "addon.h"
#include "handle.h"
#include "map.h"
#include "program.h"

namespace libbpf_ts {

namespace {

constexpr size_t kChunk = 64 * 1024;

// readIterator(program, map | null)
Napi::Value read_iterator(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  int program = Program::of(info[0]).fd("read iterator");
  union bpf_iter_link_info target = {};
  LIBBPF_OPTS(bpf_link_create_opts, opts);
  if (!is_absent(info[1])) {
    target.map.map_fd = static_cast<uint32_t>(Map::of(info[1]).fd("read iterator"));
    opts.iter_info = &target;
    opts.iter_info_len = sizeof(target);
  }
  UniqueFd link(bpf_link_create(program, 0, BPF_TRACE_ITER, &opts));
  if (!link.valid()) throw_errno(env, "read iterator", errno);
  UniqueFd iterator(bpf_iter_create(link.get()));
  if (!iterator.valid()) throw_errno(env, "read iterator", errno);
  std::vector<uint8_t> bytes;
  for (;;) {
    size_t used = bytes.size();
    bytes.resize(used + kChunk);
    ssize_t n = read(iterator.get(), bytes.data() + used, kChunk);
    bytes.resize(used + static_cast<size_t>(std::max<ssize_t>(n, 0)));
    if (n == 0) return bytes_to_js(env, bytes.data(), bytes.size());
    // EAGAIN: the kernel paused after very many objects without output.
    if (n < 0 && errno != EINTR && errno != EAGAIN) throw_errno(env, "read iterator", errno);
  }
}

}  // namespace

void init_iterator(Napi::Env env, Napi::Object exports) {
  exports["readIterator"] = Napi::Function::New(env, read_iterator, "readIterator");
}

}  // namespace libbpf_ts
