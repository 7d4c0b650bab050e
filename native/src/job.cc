// SPDX-License-Identifier: Apache-2.0
#include "job.h"

#include <fcntl.h>
#include <sched.h>

#include <cerrno>
#include <system_error>
#include <thread>

#include "error.h"
#include "handle.h"

namespace libbpf_ts {

void Job::execute(napi_env, void *data) {
  auto *job = static_cast<Job *>(data);
  job->error_ = job->run();
}

// An environment that is being torn down runs no JavaScript: then nobody waits any more.
void Job::complete(napi_env raw, napi_status, void *data) {
  std::unique_ptr<Job> job(static_cast<Job *>(data));
  Napi::Env env(raw);
  Napi::HandleScope scope(env);
  napi_delete_async_work(raw, job->work_);
  try {
    if (job->error_ == 0)
      job->done_.Call({env.Null(), job->result(env)});
    else
      job->done_.Call(
          {bpf_error(env, {.operation = job->operation_, .error = job->error_}).Value(), env.Null()});
  } catch (const Napi::Error &) {
  }
}

void Job::start(std::unique_ptr<Job> job, Napi::Function done) {
  Napi::Env env = done.Env();
  job->done_ = Napi::Persistent(done);
  napi_value name = Napi::String::New(env, job->operation_);
  if (napi_create_async_work(env, nullptr, name, execute, complete, job.get(), &job->work_) != napi_ok ||
      napi_queue_async_work(env, job->work_) != napi_ok)
    throw_errno(env, job->operation_, EAGAIN);
  static_cast<void>(job.release());
}

int NetnsJob::enter_and_act() {
  UniqueFd netns(open(netns_.c_str(), O_RDONLY | O_CLOEXEC));
  if (!netns.valid() || setns(netns.get(), CLONE_NEWNET) != 0) return errno;
  netns.reset();
  return act();
}

// The pool's threads serve everybody and must stay where they are: another namespace takes a thread that ends
// afterwards.
int NetnsJob::run() {
  if (netns_.empty()) return act();
  int result = 0;
  try {
    std::thread([&] { result = enter_and_act(); }).join();
  } catch (const std::system_error &error) {
    return error.code().value();
  }
  return result;
}

}  // namespace libbpf_ts
