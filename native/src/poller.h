// SPDX-License-Identifier: Apache-2.0
// A descriptor watched by the environment's event loop.
#pragma once

#include <napi.h>
#include <uv.h>

#include <functional>
#include <memory>

namespace libbpf_ts {

/**
 * Calls ready on the loop's thread whenever the descriptor is readable, until stop() or the end of the
 * environment. What ready throws becomes an uncaught exception. The descriptor must stay open until stop()
 * has returned.
 */
class Poller : public std::enable_shared_from_this<Poller> {
 public:
  static std::shared_ptr<Poller> start(Napi::Env env, int fd, const char *name, std::function<void()> ready);

  /** Whether the watch keeps the process alive; at first it does. */
  void ref();
  void unref();
  /** ready is not called again after this. May be called from ready, and more than once. */
  void stop();

 private:
  Poller(Napi::Env env, const char *name, std::function<void()> ready);
  static void on_event(uv_poll_t *handle, int status, int events);
  static void on_closed(uv_handle_t *handle);
  static void on_environment_end(napi_async_cleanup_hook_handle hook, void *data);

  Napi::Env env_;
  std::unique_ptr<Napi::AsyncContext> context_;
  std::function<void()> ready_;
  uv_poll_t handle_ = {};
  napi_async_cleanup_hook_handle hook_ = nullptr;
  bool stopped_ = false;
  std::shared_ptr<Poller> self_;  // until libuv has let go of handle_
};

}  // namespace libbpf_ts
