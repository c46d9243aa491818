#include "worker/autoscale.hpp"

#include <algorithm>

namespace stem::worker {
namespace {

bool passed(std::int64_t since_ns, std::int64_t wanted_ns, std::int64_t now_ns) {
  return since_ns == INT64_MIN || now_ns - since_ns >= wanted_ns;
}

}  // namespace

std::uint32_t Autoscale::tick(std::uint64_t backlog, std::uint32_t processes, std::int64_t now_ns) noexcept {
  next_ns_ = now_ns + kTickNs;
  if (backlog > 0 || busy_ns_ == INT64_MIN) busy_ns_ = now_ns;
  if (processes < min_) return min_;
  if (processes > max_) return max_;
  // A task waits for each process that there is: one more would have work.
  if (backlog >= std::max(processes, 1u)) {
    if (processes == max_ || !passed(up_ns_, kUpCooldownNs, now_ns)) return processes;
    up_ns_ = now_ns;
    return processes + 1;
  }
  if (processes == min_ || now_ns - busy_ns_ < kIdleNs || !passed(down_ns_, kDownCooldownNs, now_ns)) return processes;
  down_ns_ = now_ns;
  return processes - 1;
}

}  // namespace stem::worker
