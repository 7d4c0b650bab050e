// SPDX-License-Identifier: Apache-2.0
// A BPF ring buffer's records as callbacks on the event loop.
#include <bpf/libbpf.h>
#include <fcntl.h>

#include <climits>
#include <optional>

#include "addon.h"
#include "handle.h"
#include "map.h"
#include "poller.h"

namespace libbpf_ts {

namespace {

constexpr int kRecordsPerTurn = 1024;

class RingBuffer : public Napi::ObjectWrap<RingBuffer> {
 public:
  explicit RingBuffer(const Napi::CallbackInfo &info);
  ~RingBuffer() override { release(); }
  static Napi::Function define(Napi::Env env);

 private:
  Napi::Value consume(const Napi::CallbackInfo &info);
  void ref(const Napi::CallbackInfo &);
  void unref(const Napi::CallbackInfo &);
  void close(const Napi::CallbackInfo &info);

  static int on_record(void *context, void *data, size_t size);
  int drain(int at_most);
  void release();
  void require_open(const char *operation) const;

  UniqueFd map_;  // its own, so that the map's handle may close
  struct ring_buffer *ring_ = nullptr;
  std::shared_ptr<Poller> poller_;
  Napi::FunctionReference callback_;
  std::optional<Napi::Error> thrown_;
  int seen_ = 0;
  int at_most_ = 0;
  bool draining_ = false;
  bool closed_ = false;
};

// Keeps itself alive until it is closed, as every watcher of the event loop does.
RingBuffer::RingBuffer(const Napi::CallbackInfo &info) : ObjectWrap(info) {
  int fd = Map::of(info[0]).fd("ring buffer");
  callback_ = Napi::Persistent(function_of(info[1], "onRecord"));
  map_ = UniqueFd(fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (!map_.valid()) throw_errno(info.Env(), "ring buffer", errno);
  LibbpfLog log;
  ring_ = ring_buffer__new(map_.get(), on_record, this, nullptr);
  if (ring_ == nullptr) {
    int error = errno;
    throw_bpf_error(info.Env(), {.operation = "ring buffer", .error = error, .log = log.take()});
  }
  poller_ = Poller::start(info.Env(), ring_buffer__epoll_fd(ring_), "libbpf-ts ring buffer",
                          [this] { drain(kRecordsPerTurn); });
  Ref();
}

void RingBuffer::require_open(const char *operation) const {
  if (closed_) throw_errno(Env(), operation, EBADF);
}

int RingBuffer::on_record(void *context, void *data, size_t size) {
  auto *self = static_cast<RingBuffer *>(context);
  Napi::Env env = self->Env();
  Napi::HandleScope scope(env);
  self->seen_++;
  try {
    self->callback_.Call({bytes_to_js(env, data, size)});
  } catch (const Napi::Error &error) {
    self->thrown_ = error;
    return -ECANCELED;
  }
  // A negative answer ends libbpf's loop; the record counts as consumed.
  return self->closed_ || self->seen_ >= self->at_most_ ? -ECANCELED : 0;
}

/** Hands out the records that are there. What a callback throws is thrown here, after libbpf is done. */
int RingBuffer::drain(int at_most) {
  if (draining_) return 0;  // from within a callback: the outer loop goes on
  draining_ = true;
  seen_ = 0;
  at_most_ = at_most;
  int status = ring_buffer__consume(ring_);
  draining_ = false;
  if (closed_) release();
  if (thrown_) throw *std::exchange(thrown_, std::nullopt);
  if (status < 0 && status != -ECANCELED) throw_errno(Env(), "ring buffer consume", -status);
  return seen_;
}

void RingBuffer::release() {
  if (poller_) poller_->stop();
  poller_.reset();
  ring_buffer__free(std::exchange(ring_, nullptr));
  map_.reset();
}

Napi::Value RingBuffer::consume(const Napi::CallbackInfo &info) {
  require_open("ring buffer consume");
  return Napi::Number::New(info.Env(), drain(INT_MAX));
}

void RingBuffer::ref(const Napi::CallbackInfo &) {
  require_open("ring buffer ref");
  poller_->ref();
}

void RingBuffer::unref(const Napi::CallbackInfo &) {
  require_open("ring buffer unref");
  poller_->unref();
}

void RingBuffer::close(const Napi::CallbackInfo &) {
  if (closed_) return;
  closed_ = true;
  if (!draining_) release();
  Unref();
}

Napi::Function RingBuffer::define(Napi::Env env) {
  return DefineClass(env, "RingBuffer",
                     {
                         InstanceMethod("consume", &RingBuffer::consume),
                         InstanceMethod("ref", &RingBuffer::ref),
                         InstanceMethod("unref", &RingBuffer::unref),
                         InstanceMethod("close", &RingBuffer::close),
                     });
}

}  // namespace

void init_ringbuf(Napi::Env env, Napi::Object exports) { exports["RingBuffer"] = RingBuffer::define(env); }

}  // namespace libbpf_ts
