// SPDX-License-Identifier: Apache-2.0
// A raw netlink socket: datagrams to and from the kernel, which the caller encodes and parses.
#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>

#include <climits>
#include <ctime>
#include <optional>
#include <vector>

#include "addon.h"
#include "handle.h"
#include "poller.h"

namespace libbpf_ts {

namespace {

constexpr int kMessagesPerTurn = 64;

class Netlink : public Napi::ObjectWrap<Netlink> {
 public:
  explicit Netlink(const Napi::CallbackInfo &info);
  ~Netlink() override { release(); }
  static Napi::Function define(Napi::Env env);

 private:
  Napi::Value port_id(const Napi::CallbackInfo &info);
  void send(const Napi::CallbackInfo &info);
  Napi::Value receive(const Napi::CallbackInfo &info);
  void on_message(const Napi::CallbackInfo &info);
  void ref(const Napi::CallbackInfo &);
  void unref(const Napi::CallbackInfo &);
  void close(const Napi::CallbackInfo &info);

  int open(const char *operation) const;
  void deliver();
  void release();

  UniqueFd fd_;
  uint32_t port_id_ = 0;
  std::shared_ptr<Poller> poller_;
  Napi::FunctionReference handler_;
  bool referenced_ = true;
};

uint64_t now_ms() {
  struct timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1000000;
}

/**
 * The next datagram of the kernel that is there already, or an errno (EAGAIN: none). Datagrams that other
 * processes sent are thrown away: anyone may send to a netlink port.
 */
int read_datagram(int fd, std::vector<uint8_t> *datagram) {
  for (;;) {
    ssize_t size = recv(fd, nullptr, 0, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return errno;
    datagram->resize(static_cast<size_t>(size));
    struct sockaddr_nl sender = {};
    socklen_t length = sizeof(sender);
    size = recvfrom(fd, datagram->data(), datagram->size(), MSG_DONTWAIT,
                    reinterpret_cast<struct sockaddr *>(&sender), &length);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return errno;
    datagram->resize(static_cast<size_t>(size));
    if (sender.nl_pid == 0) return 0;
  }
}

// new Netlink(protocol, groups)
Netlink::Netlink(const Napi::CallbackInfo &info) : ObjectWrap(info) {
  int protocol = fd_of(info[0], "protocol");
  struct sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  address.nl_groups = u32_of(info[1], "groups");
  fd_ = UniqueFd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
  if (!fd_.valid()) throw_errno(info.Env(), "netlink socket", errno);
  socklen_t size = sizeof(address);
  auto *generic = reinterpret_cast<struct sockaddr *>(&address);
  if (bind(fd_.get(), generic, size) != 0 || getsockname(fd_.get(), generic, &size) != 0)
    throw_errno(info.Env(), "netlink socket", errno);
  port_id_ = address.nl_pid;
}

int Netlink::open(const char *operation) const {
  if (!fd_.valid()) throw_errno(Env(), operation, EBADF);
  return fd_.get();
}

Napi::Value Netlink::port_id(const Napi::CallbackInfo &info) {
  open("netlink port id");
  return Napi::Number::New(info.Env(), port_id_);
}

void Netlink::send(const Napi::CallbackInfo &info) {
  int fd = open("netlink send");
  Bytes message = bytes_of(info[0], "message");
  struct sockaddr_nl kernel = {};
  kernel.nl_family = AF_NETLINK;
  if (sendto(fd, message.data, message.size, 0, reinterpret_cast<struct sockaddr *>(&kernel),
             sizeof(kernel)) < 0)
    throw_errno(info.Env(), "netlink send", errno);
}

// receive(timeoutMs): null if nothing came in time.
Napi::Value Netlink::receive(const Napi::CallbackInfo &info) {
  int fd = open("netlink receive");
  const uint64_t deadline = now_ms() + unsigned_of(info[0], "timeoutMs", INT_MAX);
  std::vector<uint8_t> datagram;
  for (;;) {
    int error = read_datagram(fd, &datagram);
    if (error == 0) return bytes_to_js(info.Env(), datagram.data(), datagram.size());
    if (error != EAGAIN) throw_errno(info.Env(), "netlink receive", error);
    const uint64_t now = now_ms();
    if (now >= deadline) return info.Env().Null();
    struct pollfd waiting = {.fd = fd, .events = POLLIN, .revents = 0};
    if (poll(&waiting, 1, static_cast<int>(deadline - now)) < 0 && errno != EINTR)
      throw_errno(info.Env(), "netlink receive", errno);
  }
}

// onMessage(handler(error | null, data | null)). Keeps itself alive until it is closed.
void Netlink::on_message(const Napi::CallbackInfo &info) {
  int fd = open("netlink on message");
  handler_ = Napi::Persistent(function_of(info[0], "handler"));
  if (poller_) return;
  poller_ = Poller::start(info.Env(), fd, "libbpf-ts netlink", [this] { deliver(); });
  if (!referenced_) poller_->unref();
  Ref();
}

void Netlink::deliver() {
  Napi::Env env = Env();
  std::vector<uint8_t> datagram;
  for (int i = 0; i < kMessagesPerTurn && fd_.valid(); i++) {
    Napi::HandleScope scope(env);
    int error = read_datagram(fd_.get(), &datagram);
    if (error == EAGAIN) return;
    if (error == 0)
      handler_.Call({env.Null(), bytes_to_js(env, datagram.data(), datagram.size())});
    else
      handler_.Call({bpf_error(env, {.operation = "netlink receive", .error = error}).Value(), env.Null()});
  }
}

void Netlink::ref(const Napi::CallbackInfo &) {
  open("netlink ref");
  referenced_ = true;
  if (poller_) poller_->ref();
}

void Netlink::unref(const Napi::CallbackInfo &) {
  open("netlink unref");
  referenced_ = false;
  if (poller_) poller_->unref();
}

void Netlink::release() {
  if (poller_) poller_->stop();
  poller_.reset();
  fd_.reset();
}

void Netlink::close(const Napi::CallbackInfo &) {
  bool watched = poller_ != nullptr;
  release();
  if (watched) Unref();
}

Napi::Function Netlink::define(Napi::Env env) {
  return DefineClass(env, "NetlinkSocket",
                     {
                         InstanceAccessor("portId", &Netlink::port_id, nullptr),
                         InstanceMethod("send", &Netlink::send),
                         InstanceMethod("receive", &Netlink::receive),
                         InstanceMethod("onMessage", &Netlink::on_message),
                         InstanceMethod("ref", &Netlink::ref),
                         InstanceMethod("unref", &Netlink::unref),
                         InstanceMethod("close", &Netlink::close),
                     });
}

}  // namespace

void init_netlink(Napi::Env env, Napi::Object exports) { exports["NetlinkSocket"] = Netlink::define(env); }

}  // namespace libbpf_ts
