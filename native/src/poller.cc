// SPDX-License-Identifier: Apache-2.0
#include "poller.h"

#include "error.h"

namespace libbpf_ts {

Poller::Poller(Napi::Env env, const char *name, std::function<void()> ready)
    : env_(env), context_(std::make_unique<Napi::AsyncContext>(env, name)), ready_(std::move(ready)) {}

std::shared_ptr<Poller> Poller::start(Napi::Env env, int fd, const char *name, std::function<void()> ready) {
  uv_loop_t *loop = nullptr;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) throw_errno(env, name, ENOSYS);
  std::shared_ptr<Poller> poller(new Poller(env, name, std::move(ready)));
  if (int status = uv_poll_init(loop, &poller->handle_, fd); status != 0) throw_errno(env, name, -status);
  poller->handle_.data = poller.get();
  poller->self_ = poller;
  napi_add_async_cleanup_hook(env, on_environment_end, poller.get(), &poller->hook_);
  if (int status = uv_poll_start(&poller->handle_, UV_READABLE, on_event); status != 0) {
    poller->stop();
    throw_errno(env, name, -status);
  }
  return poller;
}

void Poller::ref() {
  if (!stopped_) uv_ref(reinterpret_cast<uv_handle_t *>(&handle_));
}

void Poller::unref() {
  if (!stopped_) uv_unref(reinterpret_cast<uv_handle_t *>(&handle_));
}

void Poller::stop() {
  if (stopped_) return;
  stopped_ = true;
  uv_close(reinterpret_cast<uv_handle_t *>(&handle_), on_closed);
}

void Poller::on_event(uv_poll_t *handle, int, int) {
  auto self = static_cast<Poller *>(handle->data)->shared_from_this();
  Napi::HandleScope handles(self->env_);
  Napi::CallbackScope scope(self->env_, *self->context_);
  try {
    self->ready_();
  } catch (const Napi::Error &error) {
    napi_fatal_exception(self->env_, error.Value());
  }
}

void Poller::on_closed(uv_handle_t *handle) {
  auto self = std::move(static_cast<Poller *>(handle->data)->self_);
  napi_remove_async_cleanup_hook(self->hook_);
}

void Poller::on_environment_end(napi_async_cleanup_hook_handle, void *data) {
  auto *poller = static_cast<Poller *>(data);
  // An async context cannot be destroyed after its environment, and the owner may hold this poller longer.
  poller->context_.reset();
  poller->stop();
}

}  // namespace libbpf_ts
