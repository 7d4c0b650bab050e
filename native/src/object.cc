// SPDX-License-Identifier: Apache-2.0
// An object file: what is in it, what is set before it is loaded, and loading it.
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>

#include <vector>

#include "addon.h"
#include "args.h"
#include "btf.h"
#include "error.h"
#include "map.h"
#include "names.h"
#include "program.h"
#include "rodata.h"

namespace libbpf_ts {

namespace {

class Object : public Napi::ObjectWrap<Object> {
 public:
  explicit Object(const Napi::CallbackInfo &info);
  ~Object() override { bpf_object__close(object_); }
  static Napi::Function define(Napi::Env env);

 private:
  Napi::Value maps(const Napi::CallbackInfo &info);
  Napi::Value programs(const Napi::CallbackInfo &info);
  void set_rodata(const Napi::CallbackInfo &info);
  void set_max_entries(const Napi::CallbackInfo &info);
  void reuse_map(const Napi::CallbackInfo &info);
  void set_autoload(const Napi::CallbackInfo &info);
  Napi::Value stub_helper(const Napi::CallbackInfo &info);
  Napi::Value load(const Napi::CallbackInfo &info);
  Napi::Value map(const Napi::CallbackInfo &info);
  Napi::Value program(const Napi::CallbackInfo &info);
  Napi::Value btf(const Napi::CallbackInfo &info);
  void close(const Napi::CallbackInfo &info);

  struct bpf_object *open(const char *operation) const;
  struct bpf_map *find_map(Napi::Value name, const char *operation) const;
  struct bpf_program *find_program(Napi::Value name, const char *operation) const;
  void require_unloaded(const char *operation) const;

  struct bpf_object *object_ = nullptr;
  bool loaded_ = false;
};

/** A second descriptor of the same thing, so that a handle outlives its object. */
UniqueFd duplicate(Napi::Env env, int fd, const char *operation) {
  UniqueFd copy(fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (!copy.valid()) throw_errno(env, operation, fd < 0 ? EBADF : errno);
  return copy;
}

/** 0 is "cgroup_inet_ingress" for cgroup_skb programs, and "none" for every other type. */
std::string expected_attach_type(const struct bpf_program *program) {
  uint32_t attach = bpf_program__expected_attach_type(program);
  if (attach == 0 && bpf_program__type(program) != BPF_PROG_TYPE_CGROUP_SKB) return "";
  return attach_type_name(attach);
}

Object::Object(const Napi::CallbackInfo &info) : ObjectWrap(info) {
  std::string path = string_of(info[0], "path");
  LibbpfLog log;
  object_ = bpf_object__open_file(path.c_str(), nullptr);
  if (object_ == nullptr) {
    int error = errno;
    throw_bpf_error(info.Env(), {.operation = "open object", .error = error, .log = log.take()});
  }
}

struct bpf_object *Object::open(const char *operation) const {
  if (object_ == nullptr) throw_errno(Env(), operation, EBADF);
  return object_;
}

struct bpf_map *Object::find_map(Napi::Value name, const char *operation) const {
  std::string wanted = string_of(name, "map");
  struct bpf_map *found = bpf_object__find_map_by_name(open(operation), wanted.c_str());
  if (found == nullptr)
    throw_bpf_error(Env(), {.operation = operation, .error = ENOENT, .log = "no map \"" + wanted + "\""});
  return found;
}

struct bpf_program *Object::find_program(Napi::Value name, const char *operation) const {
  std::string wanted = string_of(name, "program");
  struct bpf_program *found = bpf_object__find_program_by_name(open(operation), wanted.c_str());
  if (found == nullptr)
    throw_bpf_error(Env(), {.operation = operation, .error = ENOENT, .log = "no program \"" + wanted + "\""});
  return found;
}

void Object::require_unloaded(const char *operation) const {
  if (loaded_) throw_errno(Env(), operation, EBUSY);
}

Napi::Value Object::maps(const Napi::CallbackInfo &info) {
  struct bpf_object *object = open("object maps");
  Napi::Array list = Napi::Array::New(info.Env());
  struct bpf_map *map;
  bpf_object__for_each_map(map, object) {
    Napi::Object entry = Napi::Object::New(info.Env());
    entry["name"] = bpf_map__name(map);
    entry["type"] = map_type_name(bpf_map__type(map));
    entry["keySize"] = bpf_map__key_size(map);
    entry["valueSize"] = bpf_map__value_size(map);
    entry["maxEntries"] = bpf_map__max_entries(map);
    entry["flags"] = bpf_map__map_flags(map);
    list[list.Length()] = entry;
  }
  return list;
}

Napi::Value Object::programs(const Napi::CallbackInfo &info) {
  struct bpf_object *object = open("object programs");
  Napi::Array list = Napi::Array::New(info.Env());
  struct bpf_program *program;
  bpf_object__for_each_program(program, object) {
    Napi::Object entry = Napi::Object::New(info.Env());
    entry["name"] = bpf_program__name(program);
    entry["section"] = bpf_program__section_name(program);
    entry["type"] = program_type_name(bpf_program__type(program));
    entry["expectedAttachType"] = expected_attach_type(program);
    list[list.Length()] = entry;
  }
  return list;
}

void Object::set_rodata(const Napi::CallbackInfo &info) {
  struct bpf_object *object = open("set rodata");
  require_unloaded("set rodata");
  write_rodata(object, string_of(info[0], "variable"), info[1]);
}

void Object::set_max_entries(const Napi::CallbackInfo &info) {
  struct bpf_map *map = find_map(info[0], "set max entries");
  int result = bpf_map__set_max_entries(map, u32_of(info[1], "maxEntries"));
  if (result != 0) throw_errno(info.Env(), "set max entries", -result);
}

void Object::reuse_map(const Napi::CallbackInfo &info) {
  struct bpf_map *map = find_map(info[0], "reuse map");
  require_unloaded("reuse map");
  Map &existing = Map::of(info[1]);
  int fd = existing.fd("reuse map");
  const struct bpf_map_info &shape = existing.shape();
  // libbpf takes over whatever it is given: a wrong one would surface as a verifier error somewhere else.
  if (shape.type != bpf_map__type(map) || shape.key_size != bpf_map__key_size(map) ||
      shape.value_size != bpf_map__value_size(map))
    throw_bpf_error(info.Env(),
                    {.operation = "reuse map",
                     .error = EINVAL,
                     .log = std::string(bpf_map__name(map)) + ": type, key size or value size differ"});
  LibbpfLog log;
  int result = bpf_map__reuse_fd(map, fd);
  if (result != 0)
    throw_bpf_error(info.Env(), {.operation = "reuse map", .error = -result, .log = log.take()});
}

void Object::set_autoload(const Napi::CallbackInfo &info) {
  struct bpf_program *program = find_program(info[0], "set autoload");
  int result = bpf_program__set_autoload(program, bool_of(info[1], "load"));
  if (result != 0) throw_errno(info.Env(), "set autoload", -result);
}

/** The program's calls of a helper become r0 = result. Returns how many there were, or -1 with errno. */
int stub_calls(struct bpf_program *program, int32_t helper, int32_t result) {
  const struct bpf_insn *begin = bpf_program__insns(program);
  std::vector<struct bpf_insn> insns(begin, begin + bpf_program__insn_cnt(program));
  int count = 0;
  for (struct bpf_insn &insn : insns) {
    if (insn.code != (BPF_JMP | BPF_CALL) || insn.src_reg != 0 || insn.imm != helper) continue;
    insn.code = BPF_ALU64 | BPF_MOV | BPF_K;
    insn.dst_reg = BPF_REG_0;
    insn.imm = result;
    count++;
  }
  if (count > 0 && bpf_program__set_insns(program, insns.data(), insns.size()) != 0) return -1;
  return count;
}

// stubHelper(helper, result): before load, the calls among the programs' own instructions. Returns
// how many there were.
Napi::Value Object::stub_helper(const Napi::CallbackInfo &info) {
  constexpr uint64_t kMaxImmediate = (1ULL << 31) - 1;
  struct bpf_object *object = open("stub helper");
  require_unloaded("stub helper");
  auto helper = static_cast<int32_t>(unsigned_of(info[0], "helper", kMaxImmediate));
  auto result = static_cast<int32_t>(unsigned_of(info[1], "result", kMaxImmediate));
  int count = 0;
  struct bpf_program *program;
  bpf_object__for_each_program(program, object) {
    int calls = stub_calls(program, helper, result);
    if (calls < 0) throw_errno(info.Env(), "stub helper", errno);
    count += calls;
  }
  return Napi::Number::New(info.Env(), count);
}

// load(logLevel): the verifier's log if it was asked for, else null. libbpf repeats a failed load with a log,
// and with a longer buffer until the log fits.
Napi::Value Object::load(const Napi::CallbackInfo &info) {
  struct bpf_object *object = open("load");
  require_unloaded("load");
  uint32_t level = u32_of(info[0], "logLevel");
  struct bpf_program *program;
  if (level > 0) {
    bpf_object__for_each_program(program, object) bpf_program__set_log_level(program, level);
  }
  loaded_ = true;
  LibbpfLog log;
  int result = bpf_object__load(object);
  if (result != 0) throw_bpf_error(info.Env(), {.operation = "load", .error = -result, .log = log.take()});
  return level > 0 ? Napi::String::New(info.Env(), log.take()) : info.Env().Null();
}

Napi::Value Object::map(const Napi::CallbackInfo &info) {
  struct bpf_map *map = find_map(info[0], "object map");
  return Map::wrap(info.Env(), duplicate(info.Env(), bpf_map__fd(map), "object map"));
}

Napi::Value Object::program(const Napi::CallbackInfo &info) {
  struct bpf_program *program = find_program(info[0], "object program");
  return Program::wrap(info.Env(), duplicate(info.Env(), bpf_program__fd(program), "object program"));
}

Napi::Value Object::btf(const Napi::CallbackInfo &info) {
  struct btf *own = bpf_object__btf(open("object btf"));
  if (own == nullptr) throw_errno(info.Env(), "object btf", ENOENT);
  uint32_t size = 0;
  const void *raw = btf__raw_data(own, &size);
  struct btf *copy = raw == nullptr ? nullptr : btf__new(raw, size);
  if (copy == nullptr) throw_errno(info.Env(), "object btf", errno);
  return BtfTypes::wrap(info.Env(), {.btf = copy});
}

void Object::close(const Napi::CallbackInfo &) { bpf_object__close(std::exchange(object_, nullptr)); }

Napi::Function Object::define(Napi::Env env) {
  return DefineClass(env, "Object",
                     {
                         InstanceAccessor("maps", &Object::maps, nullptr),
                         InstanceAccessor("programs", &Object::programs, nullptr),
                         InstanceMethod("setRodata", &Object::set_rodata),
                         InstanceMethod("setMaxEntries", &Object::set_max_entries),
                         InstanceMethod("reuseMap", &Object::reuse_map),
                         InstanceMethod("setAutoload", &Object::set_autoload),
                         InstanceMethod("stubHelper", &Object::stub_helper),
                         InstanceMethod("load", &Object::load),
                         InstanceMethod("map", &Object::map),
                         InstanceMethod("program", &Object::program),
                         InstanceMethod("btf", &Object::btf),
                         InstanceMethod("close", &Object::close),
                     });
}

Napi::Value open_object(const Napi::CallbackInfo &info) { return addon_of(info.Env()).object.New({info[0]}); }

}  // namespace

void init_object(Napi::Env env, Napi::Object exports) {
  addon_of(env).object = Napi::Persistent(Object::define(env));
  exports["openObject"] = Napi::Function::New(env, open_object, "openObject");
}

}  // namespace libbpf_ts
