// The signals of a supervisor, as flags and rings of its own doorbell: what its loop sleeps on.
#pragma once

#include <atomic>
#include <cstdint>

#include "worker/child_page.hpp"

namespace stem::worker {

class StopSignals {
 public:
  // The doorbell outlives the object. One object a process.
  explicit StopSignals(std::atomic<std::uint32_t>& doorbell);
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  // What the signals so far ask for: SIGTERM warm, a second one or SIGINT soft, a second SIGINT or SIGQUIT hard.
  StopMode wanted() const noexcept;
};

}  // namespace stem::worker
