// What a handler's outcome, or its exception, means for the lease.
#pragma once

#include <cstdint>

#include "engine/engine.hpp"
#include "worker/outcome.hpp"

namespace stem::worker {

// How an acknowledgement without a result is made.
enum class Acknowledge : std::uint8_t {
  kNow,
  kTogether,  // with those of the same run (Engine::succeed_later)
};

void settle(engine::Engine& engine, const engine::Lease& lease, const engine::TaskView& task, const Outcome& outcome,
            Acknowledge how, std::int64_t now_ns);

// An attempt that was ended by force because of its hard limit: a failed one, or the end.
void settle_hard_limit(engine::Engine& engine, const engine::Lease& lease, const engine::TaskView& task,
                       std::int64_t now_ns);

// Inside a catch block. Lets through what ends the thread (pthread_exit).
Outcome outcome_of_exception();

}  // namespace stem::worker
