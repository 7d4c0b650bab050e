// SPDX-License-Identifier: Apache-2.0
// Reading all that an iterator program writes: at once, or on a worker thread, in any network namespace.
#include <bpf/bpf.h>
#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <vector>

#include "addon.h"
#include "args.h"
#include "handle.h"
#include "job.h"
#include "map.h"
#include "program.h"

namespace libbpf_ts {

namespace {

constexpr size_t kChunk = 64 * 1024;
constexpr int kNoMap = -1;

/** 0 or an errno. Iterators over sockets visit those of the thread's network namespace. */
int read_all(int program, int map, std::vector<uint8_t> *bytes) {
  union bpf_iter_link_info target = {};
  LIBBPF_OPTS(bpf_link_create_opts, opts);
  if (map != kNoMap) {
    target.map.map_fd = static_cast<uint32_t>(map);
    opts.iter_info = &target;
    opts.iter_info_len = sizeof(target);
  }
  UniqueFd link(bpf_link_create(program, 0, BPF_TRACE_ITER, &opts));
  if (!link.valid()) return errno;
  UniqueFd iterator(bpf_iter_create(link.get()));
  if (!iterator.valid()) return errno;
  for (;;) {
    size_t used = bytes->size();
    if (used > kMostCollected) return EFBIG;
    bytes->resize(used + kChunk);
    ssize_t n = read(iterator.get(), bytes->data() + used, kChunk);
    bytes->resize(used + static_cast<size_t>(std::max<ssize_t>(n, 0)));
    if (n == 0) return 0;
    // EAGAIN: the kernel paused after very many objects without output.
    if (n < 0 && errno != EINTR && errno != EAGAIN) return errno;
  }
}

int map_of(Napi::Value map) { return is_absent(map) ? kNoMap : Map::of(map).fd("read iterator"); }

// readIterator(program, map | null)
Napi::Value read_iterator(const Napi::CallbackInfo &info) {
  std::vector<uint8_t> bytes;
  int error = read_all(Program::of(info[0]).fd("read iterator"), map_of(info[1]), &bytes);
  if (error != 0) throw_errno(info.Env(), "read iterator", error);
  return bytes_to_js(info.Env(), bytes.data(), bytes.size());
}

/** Its own descriptors: the handles may be closed while it runs. */
class IteratorJob : public NetnsJob {
 public:
  IteratorJob(std::string netns, UniqueFd program, UniqueFd map)
      : NetnsJob("read iterator", std::move(netns)), program_(std::move(program)), map_(std::move(map)) {}

  Napi::Value result(Napi::Env env) override { return bytes_to_js(env, bytes_.data(), bytes_.size()); }

 protected:
  int act() override { return read_all(program_.get(), map_.valid() ? map_.get() : kNoMap, &bytes_); }

 private:
  UniqueFd program_;
  UniqueFd map_;
  std::vector<uint8_t> bytes_;
};

UniqueFd copy_of(Napi::Env env, int fd) {
  UniqueFd copy(fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!copy.valid()) throw_errno(env, "read iterator", errno);
  return copy;
}

// collectIterator(program, map | null, netns, done(error | null, bytes | null)); netns "": the process' own.
void collect_iterator(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  UniqueFd program = copy_of(env, Program::of(info[0]).fd("read iterator"));
  int map = map_of(info[1]);
  UniqueFd target = map == kNoMap ? UniqueFd() : copy_of(env, map);
  Job::start(
      std::make_unique<IteratorJob>(string_of(info[2], "netns"), std::move(program), std::move(target)),
      function_of(info[3], "done"));
}

}  // namespace

void init_iterator(Napi::Env env, Napi::Object exports) {
  exports["readIterator"] = Napi::Function::New(env, read_iterator, "readIterator");
  exports["collectIterator"] = Napi::Function::New<collect_iterator>(env, "collectIterator");
}

}  // namespace libbpf_ts
