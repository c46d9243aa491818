// What stands behind the opaque handles of stem.h, and the ways over the border: options in, errors out.
#pragma once

#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <string>

#include "stem/client.hpp"
#include "stem/stem.h"
#include "worker/handler_table.hpp"
#include "worker/worker_options.hpp"

struct stem_buffer {
  std::string bytes;
};

struct stem_client {
  stem::Client client;
};

struct stem_result {
  stem::detail::Finished finished;
};

struct stem_worker {
  stem::worker::WorkerOptions options;
  stem::worker::HandlerTable handlers;
};

namespace stem::c {

// Fills the caller's struct, if there is one, and gives the code back.
int report(const Error& error, stem_error* into) noexcept;
int succeeded(stem_error* into) noexcept;

// Runs `body`, a Result<void>, with every exception caught: the only way that an entry of stem.h does its work.
template <class Body>
int guarded(stem_error* error, Body body) noexcept {
  try {
    const Result<void> done = body();
    return done ? succeeded(error) : report(done.error(), error);
  } catch (const std::bad_alloc&) {
    return report({Errc::kNoMemory, {}}, error);
  } catch (const std::exception& e) {
    try {
      return report({Errc::kInvalidArgument, e.what()}, error);
    } catch (...) {
      return report({Errc::kNoMemory, {}}, error);
    }
  } catch (...) {
    return report({Errc::kSystem, {}}, error);
  }
}

// "" for null.
inline std::string_view text(const char* text) noexcept { return text == nullptr ? std::string_view() : text; }

inline BytesView view(const void* data, std::size_t size) noexcept {
  return {static_cast<const std::byte*>(data), size};
}
inline stem_bytes bytes(const void* data, std::size_t size) noexcept { return {data, size}; }

Error missing(const char* what);

// A copy of the caller's options, of whatever age that struct is; all defaults for null.
template <class Options>
Result<Options> read_options(const Options* given) {
  Options options{};
  options.size = sizeof options;
  if (given == nullptr) return options;
  const std::size_t size = given->size;
  if (size < sizeof size)
    return Error{Errc::kInvalidArgument, "the options' size is not set; begin with {.size = sizeof options}"};
  const auto* all = reinterpret_cast<const unsigned char*>(given);
  for (std::size_t i = sizeof options; i < size; ++i)
    if (all[i] != 0)
      return Error{Errc::kInvalidArgument, "the options ask for what this version of the library does not know"};
  std::memcpy(&options, given, size < sizeof options ? size : sizeof options);
  options.size = sizeof options;
  return options;
}

// An error for bits of `given` outside `known`: those of a newer stem.h, or of another struct.
Result<void> check_given(std::uint32_t given, std::uint32_t known, const char* options);

// The options of one enqueue in the terms of the C++ API. The TaskOptions point into the caller's texts.
struct Call {
  TaskOptions task;
  EnqueueOptions call;
};
Result<Call> read_call(const stem_enqueue_options* given);

Result<TaskId> read_id(const char* id);
void write_enqueued(TaskId id, bool duplicate, stem_enqueued& into);

}  // namespace stem::c
