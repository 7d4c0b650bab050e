// SPDX-License-Identifier: Apache-2.0
// Netlink requests and all their answers, on a worker thread, in any network namespace.
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "addon.h"
#include "args.h"
#include "handle.h"
#include "job.h"

namespace libbpf_ts {

namespace {

constexpr time_t kTimeoutSec = 2;
constexpr size_t kHeader = sizeof(struct nlmsghdr);

class Exchange : public NetnsJob {
 public:
  Exchange(std::string netns, int protocol, std::vector<uint8_t> requests)
      : NetnsJob("netlink exchange", std::move(netns)), protocol_(protocol), requests_(std::move(requests)) {}

  Napi::Value result(Napi::Env env) override { return bytes_to_js(env, answers_.data(), answers_.size()); }

 protected:
  int act() override;

 private:
  int ask(int fd, const struct nlmsghdr *request);
  int receive(int fd);
  bool is_answered(size_t from) const;

  int protocol_;
  std::vector<uint8_t> requests_;
  std::vector<uint8_t> answers_;
};

/** Whether a request's last message, NLMSG_DONE or NLMSG_ERROR, is among the bytes from here on. */
bool Exchange::is_answered(size_t from) const {
  for (size_t at = from; at + kHeader <= answers_.size();) {
    struct nlmsghdr header;
    memcpy(&header, answers_.data() + at, kHeader);
    if (header.nlmsg_type == NLMSG_DONE || header.nlmsg_type == NLMSG_ERROR) return true;
    if (header.nlmsg_len < kHeader) return true;
    at += NLMSG_ALIGN(header.nlmsg_len);
  }
  return false;
}

/** Appends the next datagram of the kernel; those of other processes are thrown away. */
int Exchange::receive(int fd) {
  for (;;) {
    ssize_t size = recv(fd, nullptr, 0, MSG_PEEK | MSG_TRUNC);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return errno == EAGAIN ? ETIMEDOUT : errno;
    size_t used = answers_.size();
    if (used + static_cast<size_t>(size) > kMostCollected) return EFBIG;
    answers_.resize(used + static_cast<size_t>(size));
    struct sockaddr_nl sender = {};
    socklen_t length = sizeof(sender);
    size = recvfrom(fd, answers_.data() + used, static_cast<size_t>(size), 0,
                    reinterpret_cast<struct sockaddr *>(&sender), &length);
    bool ours = size >= 0 && sender.nl_pid == 0;
    // Zero bytes behind a datagram that is no multiple of four: the next one starts aligned.
    answers_.resize(used + (ours ? NLMSG_ALIGN(static_cast<size_t>(size)) : 0));
    if (size < 0 && errno != EINTR) return errno;
    if (ours) return 0;
  }
}

int Exchange::ask(int fd, const struct nlmsghdr *request) {
  if (send(fd, request, request->nlmsg_len, 0) < 0) return errno;
  for (;;) {
    size_t from = answers_.size();
    int error = receive(fd);
    if (error != 0 || is_answered(from)) return error;
  }
}

// One after the other: a socket carries out one dump at a time. Connected: in a network namespace of theirs
// others could keep it receiving for ever; now they are refused.
int Exchange::act() {
  UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol_));
  struct sockaddr_nl kernel = {};
  kernel.nl_family = AF_NETLINK;
  if (!fd.valid() || connect(fd.get(), reinterpret_cast<struct sockaddr *>(&kernel), sizeof(kernel)) != 0)
    return errno;
  struct timeval timeout = {.tv_sec = kTimeoutSec, .tv_usec = 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  for (size_t at = 0; at + kHeader <= requests_.size();) {
    auto *request = reinterpret_cast<struct nlmsghdr *>(requests_.data() + at);
    if (request->nlmsg_len < kHeader || request->nlmsg_len > requests_.size() - at) return EINVAL;
    if (int error = ask(fd.get(), request); error != 0) return error;
    at += NLMSG_ALIGN(request->nlmsg_len);
  }
  return 0;
}

// netlinkExchange(protocol, requests, netns, done(error | null, answers | null)); netns "": the process' own.
void netlink_exchange(const Napi::CallbackInfo &info) {
  int protocol = fd_of(info[0], "protocol");
  Bytes requests = bytes_of(info[1], "requests");
  std::vector<uint8_t> copy(requests.data, requests.data + requests.size);
  Job::start(std::make_unique<Exchange>(string_of(info[2], "netns"), protocol, std::move(copy)),
             function_of(info[3], "done"));
}

}  // namespace

void init_netlink_exchange(Napi::Env env, Napi::Object exports) {
  exports["netlinkExchange"] = Napi::Function::New<netlink_exchange>(env, "netlinkExchange");
}

}  // namespace libbpf_ts
