// SPDX-License-Identifier: Apache-2.0
// Maps of type array in the process' own memory, with atomic access to their words.
#include <sys/mman.h>

#include <memory>

#include "map.h"

namespace libbpf_ts {

namespace {

/** One mmap(2). Shared by a view and its ArrayBuffer: whoever outlives the other unmaps. */
class Mapping {
 public:
  Mapping(void *address, size_t length, bool writable)
      : address_(address), length_(length), writable_(writable) {}
  Mapping(const Mapping &) = delete;
  Mapping &operator=(const Mapping &) = delete;
  ~Mapping() { ::munmap(address_, length_); }

  void *address() const { return address_; }
  bool writable() const { return writable_; }

 private:
  void *address_;
  size_t length_;
  bool writable_;
};

using SharedMapping = std::shared_ptr<Mapping>;

struct ViewInit {
  SharedMapping mapping;
  size_t bytes;
};

class View : public Napi::ObjectWrap<View> {
 public:
  explicit View(const Napi::CallbackInfo &info);
  static Napi::Function define(Napi::Env env);

 private:
  Napi::Value buffer(const Napi::CallbackInfo &) { return buffer_.Value(); }
  Napi::Value load64(const Napi::CallbackInfo &info);
  void store64(const Napi::CallbackInfo &info);
  Napi::Value add64(const Napi::CallbackInfo &info);
  Napi::Value compare_exchange64(const Napi::CallbackInfo &info);
  Napi::Value load32(const Napi::CallbackInfo &info);
  void store32(const Napi::CallbackInfo &info);
  void close(const Napi::CallbackInfo &info);

  template <class Word>
  Word *word(Napi::Value offset, const char *operation) const;
  template <class Word>
  Word *writable_word(Napi::Value offset, const char *operation) const;

  SharedMapping mapping_;
  size_t bytes_ = 0;
  Napi::Reference<Napi::ArrayBuffer> buffer_;
};

View::View(const Napi::CallbackInfo &info) : ObjectWrap(info) {
  if (!info[0].IsExternal()) throw_type_error(info.Env(), "not constructible from JavaScript");
  auto *init = info[0].As<Napi::External<ViewInit>>().Data();
  auto held = std::make_unique<SharedMapping>(init->mapping);
  auto array = Napi::ArrayBuffer::New(
      info.Env(), init->mapping->address(), init->bytes,
      [](Napi::BasicEnv, void *, SharedMapping *mapping) { delete mapping; }, held.get());
  static_cast<void>(held.release());
  mapping_ = std::move(init->mapping);
  bytes_ = init->bytes;
  buffer_ = Napi::Persistent(array);
}

template <class Word>
Word *View::word(Napi::Value value, const char *operation) const {
  if (!mapping_) throw_errno(Env(), operation, EBADF);
  uint64_t offset = unsigned_of(value, "offset", bytes_ - sizeof(Word));
  if (offset % sizeof(Word) != 0)
    throw_range_error(Env(), "offset must be a multiple of " + std::to_string(sizeof(Word)));
  return reinterpret_cast<Word *>(static_cast<uint8_t *>(mapping_->address()) + offset);
}

template <class Word>
Word *View::writable_word(Napi::Value value, const char *operation) const {
  Word *found = word<Word>(value, operation);
  if (!mapping_->writable()) throw_errno(Env(), operation, EACCES);
  return found;
}

Napi::Value View::load64(const Napi::CallbackInfo &info) {
  uint64_t value = __atomic_load_n(word<uint64_t>(info[0], "mmap load64"), __ATOMIC_ACQUIRE);
  return Napi::BigInt::New(info.Env(), value);
}

void View::store64(const Napi::CallbackInfo &info) {
  auto *target = writable_word<uint64_t>(info[0], "mmap store64");
  __atomic_store_n(target, u64_of(info[1], "value"), __ATOMIC_RELEASE);
}

// The delta wraps: a negative one subtracts.
Napi::Value View::add64(const Napi::CallbackInfo &info) {
  auto *target = writable_word<uint64_t>(info[0], "mmap add64");
  if (!info[1].IsBigInt()) throw_type_error(info.Env(), "delta must be a bigint");
  bool lossless = false;
  uint64_t delta = info[1].As<Napi::BigInt>().Uint64Value(&lossless);
  return Napi::BigInt::New(info.Env(), __atomic_fetch_add(target, delta, __ATOMIC_ACQ_REL));
}

Napi::Value View::compare_exchange64(const Napi::CallbackInfo &info) {
  auto *target = writable_word<uint64_t>(info[0], "mmap compareExchange64");
  uint64_t expected = u64_of(info[1], "expected");
  uint64_t value = u64_of(info[2], "value");
  __atomic_compare_exchange_n(target, &expected, value, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
  return Napi::BigInt::New(info.Env(), expected);
}

Napi::Value View::load32(const Napi::CallbackInfo &info) {
  uint32_t value = __atomic_load_n(word<uint32_t>(info[0], "mmap load32"), __ATOMIC_ACQUIRE);
  return Napi::Number::New(info.Env(), value);
}

void View::store32(const Napi::CallbackInfo &info) {
  auto *target = writable_word<uint32_t>(info[0], "mmap store32");
  __atomic_store_n(target, u32_of(info[1], "value"), __ATOMIC_RELEASE);
}

// Detaching lets go of the buffer's share, though only at the event loop's next turn; nothing can reach it
// until then.
void View::close(const Napi::CallbackInfo &) {
  if (!mapping_) return;
  Napi::ArrayBuffer array = buffer_.Value();
  if (!array.IsDetached()) array.Detach();
  mapping_.reset();
}

Napi::Function View::define(Napi::Env env) {
  return DefineClass(env, "MmapView",
                     {
                         InstanceAccessor("buffer", &View::buffer, nullptr),
                         InstanceMethod("load64", &View::load64),
                         InstanceMethod("store64", &View::store64),
                         InstanceMethod("add64", &View::add64),
                         InstanceMethod("compareExchange64", &View::compare_exchange64),
                         InstanceMethod("load32", &View::load32),
                         InstanceMethod("store32", &View::store32),
                         InstanceMethod("close", &View::close),
                     });
}

}  // namespace

Napi::Value Map::mmap(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  int map = fd("map mmap");
  bool read_only = bool_of(info[0], "readOnly");
  if (shape_.type != BPF_MAP_TYPE_ARRAY) throw_errno(env, "map mmap", ENOTSUP);
  size_t bytes = (shape_.value_size + 7ULL) / 8 * 8 * shape_.max_entries;
  int protection = read_only ? PROT_READ : PROT_READ | PROT_WRITE;
  void *address = ::mmap(nullptr, bytes, protection, MAP_SHARED, map, 0);
  if (address == MAP_FAILED) throw_errno(env, "map mmap", errno);
  ViewInit init{std::make_shared<Mapping>(address, bytes, !read_only), bytes};
  return addon_of(env).mmap_view.New({Napi::External<ViewInit>::New(env, &init)});
}

void init_mmap(Napi::Env env, Napi::Object) { addon_of(env).mmap_view = Napi::Persistent(View::define(env)); }

}  // namespace libbpf_ts
