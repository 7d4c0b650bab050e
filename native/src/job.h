// SPDX-License-Identifier: Apache-2.0
// Work that must not hold up the event loop: it runs on a worker thread, and JavaScript hears of its end.
#pragma once

#include <napi.h>

#include <cstddef>
#include <memory>
#include <string>

namespace libbpf_ts {

/** Bytes that one job collects at most: others decide how many sockets there are to tell of. */
constexpr size_t kMostCollected = 32 << 20;

class Job {
 public:
  explicit Job(const char *operation) : operation_(operation) {}
  virtual ~Job() = default;
  Job(const Job &) = delete;
  Job &operator=(const Job &) = delete;

  /** On a worker thread, without JavaScript. 0, or the errno of what failed. */
  virtual int run() = 0;
  /** On the event loop, after run() gave 0. */
  virtual Napi::Value result(Napi::Env env) = 0;

  /** Calls done(error | null, result | null) when the job has run. */
  static void start(std::unique_ptr<Job> job, Napi::Function done);

 private:
  static void execute(napi_env env, void *data);
  static void complete(napi_env env, napi_status status, void *data);

  const char *operation_;
  Napi::FunctionReference done_;  // a promise of Node-API could not be freed while its environment ends
  napi_async_work work_ = nullptr;
  int error_ = 0;
};

/** A job whose act() runs in the network namespace of a path; an empty path is the process' own. */
class NetnsJob : public Job {
 public:
  NetnsJob(const char *operation, std::string netns) : Job(operation), netns_(std::move(netns)) {}

  int run() final;

 protected:
  virtual int act() = 0;

 private:
  int enter_and_act();

  std::string netns_;
};

}  // namespace libbpf_ts
