// One call's options laid over the task's: everything the engine needs beyond the plain path, with the
// texts it points to.
#pragma once

#include <string>

#include "api/task_resolver.hpp"
#include "stem/codec.hpp"
#include "stem/options.hpp"

namespace stem::api {

struct Moment {
  std::int64_t monotonic_ns = 0;
  std::int64_t realtime_ns = 0;
};

// Not copyable: `spec` points into it.
struct PreparedCall {
  PreparedCall() = default;
  PreparedCall(const PreparedCall&) = delete;
  PreparedCall& operator=(const PreparedCall&) = delete;

  engine::TaskSpec spec;
  engine::TaskExtras extras;
  std::string headers, meta, link, link_error, idempotency_key;
};

// kInvalidArgument, naming the option, when a value makes no sense.
Result<void> prepare_call(TaskResolver& resolver, const ResolvedTask& task, const EnqueueOptions& options,
                          BytesView payload, const Moment& now, PreparedCall& into);

}  // namespace stem::api
