// The producer's side.
//
//   auto client = stem::Client::open("stem");
//   auto handle = client->enqueue(resize, {"a.jpg", 64}, {.delay = 5s});
//   auto thumb = handle->get(1s);
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stem/handle.hpp"
#include "stem/loan.hpp"

namespace stem {

// For a segment that does not exist yet; zero = the default.
struct ClientOptions {
  std::string directory{};                 // empty: $STEM_SHM_DIRECTORY, else /dev/shm/stem-UID
  std::uint32_t task_capacity = 0;         // tasks that may exist at once
  std::uint32_t participant_capacity = 0;  // threads that may be attached at once
  std::uint64_t payload_capacity_bytes = 0;
  bool create = true;  // false: kNotFound when there is no such segment
};

// Tasks accepted, in order; `error` says why the rest was not.
template <class R>
struct EnqueuedMany {
  std::vector<Handle<R>> handles{};
  std::optional<Error> error{};
};

// Usable from many threads at once: each attaches to the segment on first use and detaches when it ends.
// After a fork the child attaches anew by itself. Nothing here throws.
class Client {
 public:
  // Empty: $STEM_NAMESPACE, else "stem".
  static Result<Client> open(std::string_view name_space = {}, const ClientOptions& options = {});
  // Removes a namespace and everything in it; what is attached keeps its mapping and works on a segment
  // that nobody else will find. kNotFound.
  static Result<void> destroy(std::string_view name_space, const std::string& directory = {});
  // For test kits.
  explicit Client(std::unique_ptr<detail::Port> port) noexcept : port_(std::move(port)) {}

  // The arguments are not deduced, so braces work: enqueue(resize, {"a.jpg", 64}).
  template <class R, class... A>
  Result<Handle<R>> enqueue(const Task<R(A...)>& task, const typename Task<R(A...)>::Args& args) {
    return enqueue_encoded<R>(task, args, nullptr);
  }
  template <class R, class... A>
  Result<Handle<R>> enqueue(const Task<R(A...)>& task, const typename Task<R(A...)>::Args& args,
                            const EnqueueOptions& options) {
    return enqueue_encoded<R>(task, args, &options);
  }
  template <class R>
  Result<Handle<R>> enqueue(const Task<R()>& task) {
    return enqueue_encoded<R>(task, Nothing{}, nullptr);
  }

  // One visit for many tasks: cheaper than one by one.
  template <class R, class... A>
  EnqueuedMany<R> enqueue_many(const Task<R(A...)>& task, std::span<const typename Task<R(A...)>::Args> args,
                               const EnqueueOptions& options = {});

  // A payload that the caller encoded. The result, if any, is bytes too.
  Result<Handle<Bytes>> enqueue_raw(std::string_view task_name, BytesView payload, const EnqueueOptions& options = {}) {
    return enqueue_raw(TaskInfo(task_name, {}, /*has_result=*/true), payload, options);
  }
  Result<Handle<Bytes>> enqueue_raw(const TaskInfo& task, BytesView payload, const EnqueueOptions& options = {}) {
    return made<Bytes>(port_->enqueue(task, payload, /*in_place=*/false, &options));
  }

  // Room for a payload of a task that takes raw bytes.
  template <class R, RawBytes A>
  Result<Loan<R>> loan(const Task<R(A)>& task, std::size_t payload_bytes, const EnqueueOptions& options = {}) {
    auto slot = port_->loan(task, payload_bytes, /*in_place=*/false, &options);
    if (!slot) return slot.error();
    return Loan<R>(*port_, std::move(*slot));
  }

  // A task enqueued elsewhere, by its id's text.
  template <class R>
  Result<Handle<R>> handle(std::string_view id_text) {
    TaskId id;
    if (!engine::parse_task_id(id_text, id))
      return Error{Errc::kInvalidArgument, "\"" + std::string(id_text) + "\" is not a task id"};
    return Handle<R>(*port_, id, false);
  }

  detail::Port& port() noexcept { return *port_; }

 private:
  template <class R>
  Result<Handle<R>> made(detail::Enqueued e) {
    if (e.error) return std::move(*e.error);
    return Handle<R>(*port_, e.id, e.duplicate);
  }
  template <class R, class Args>
  Result<Handle<R>> enqueue_encoded(const TaskInfo& task, const Args& args, const EnqueueOptions* options) {
    if constexpr (noexcept(Codec<Args>::encode(args))) {
      return made<R>(port_->enqueue(task, Codec<Args>::encode(args), Codec<Args>::kInPlace, options));
    } else {
      try {
        return made<R>(port_->enqueue(task, Codec<Args>::encode(args), Codec<Args>::kInPlace, options));
      } catch (...) {
        return detail::caught_while_encoding(task.name);
      }
    }
  }

  std::unique_ptr<detail::Port> port_;
};

template <class R, class... A>
EnqueuedMany<R> Client::enqueue_many(const Task<R(A...)>& task, std::span<const typename Task<R(A...)>::Args> args,
                                     const EnqueueOptions& options) {
  using Args = typename Task<R(A...)>::Args;
  using Payload = decltype(Codec<Args>::encode(args[0]));
  constexpr std::size_t kChunk = 256;
  EnqueuedMany<R> many;
  try {
    many.handles.reserve(args.size());
    std::vector<Payload> payloads;
    std::vector<BytesView> views;
    std::vector<detail::Enqueued> ids(std::min(kChunk, args.size()));
    for (std::size_t at = 0; at < args.size() && !many.error; at += kChunk) {
      const auto chunk = args.subspan(at, std::min(kChunk, args.size() - at));
      payloads.clear();
      views.clear();
      for (const Args& one : chunk) payloads.push_back(Codec<Args>::encode(one));
      for (const Payload& one : payloads) views.push_back(one);
      std::size_t done = 0;
      auto error = port_->enqueue_many(task, views, Codec<Args>::kInPlace, &options, ids.data(), done);
      for (std::size_t i = 0; i < done; ++i) many.handles.emplace_back(*port_, ids[i].id, ids[i].duplicate);
      if (error) many.error = std::move(*error);
    }
  } catch (...) {
    many.error = detail::caught_while_encoding(task.name);
  }
  return many;
}

// A task to follow another: EnqueueOptions::link and link_error.
template <class R, class... A>
Link link(const Task<R(A...)>& task, const typename Task<R(A...)>::Args& args) {
  using Args = typename Task<R(A...)>::Args;
  const auto encoded = Codec<Args>::encode(args);
  const BytesView bytes = encoded;
  Link made;
  made.task = task.name;
  made.queue = task.options.queue;
  made.payload.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  made.priority = task.options.priority;
  made.max_retries = task.options.max_retries;
  made.keep_result = task.options.result_ttl ? *task.options.result_ttl > Duration{} : task.typed_result;
  made.in_place = Codec<Args>::kInPlace;
  return made;
}

}  // namespace stem
