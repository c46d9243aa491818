#include "engine/engine.hpp"

#include <charconv>
#include "engine/affinity.hpp"

namespace stem::engine {

Engine::Engine(shm::Participant& self)
    : self_(self),
      segment_(self.segment()),
      events_(self),
      lanes_(segment_),
      blocks_(segment_),
      run_serial_(self.incarnation() << 32),
      inbox_(inbox_of(segment_, self.index())),
      delayed_(segment_.at<shm::RingHeader>(segment_.layout().delayed), shm::kDelayedRingLog2),
      journal_(segment_) {}

// What is still held goes back untouched: the row may be somebody else's the next moment.
Engine::~Engine() {
  if (self_.watches() || self_.in_forked_child()) return;
  if (inbox_has_hints()) empty_inbox(self_.index());
  (void)commit_acks();
  for (HeldRun& run : runs_) record_waits(run);
  for (auto& entry : self_.row().held) {
    const std::uint32_t slot = entry.load(std::memory_order_relaxed) - 1;
    if (slot >= segment_.geometry().slot_count) continue;
    const shm::ControlWord word = segment_.descriptor(slot).control.load();
    if (word.state() == shm::State::kLeased && word.owner() == self_.owner()) (void)release({slot, word}, 0);
  }
}

std::string to_string(TaskId id) {
  std::string text(25, '-');  // as often as tasks pass a gateway: by hand
  const auto write = [&text](std::size_t from, std::size_t digits, std::uint64_t number) {
    for (std::size_t i = from + digits; i-- > from; number >>= 4) text[i] = "0123456789abcdef"[number & 15];
  };
  write(0, 8, id.epoch);
  write(9, 16, id.handle);
  return text;
}

bool parse_task_id(std::string_view text, TaskId& id) {
  if (text.size() != 25 || text[8] != '-') return false;
  const auto epoch = std::from_chars(text.data(), text.data() + 8, id.epoch, 16);
  const auto handle = std::from_chars(text.data() + 9, text.data() + 25, id.handle, 16);
  return epoch.ec == std::errc() && epoch.ptr == text.data() + 8 && handle.ec == std::errc() &&
         handle.ptr == text.data() + 25 && id.epoch != 0;
}

const char* to_string(EnqueueStatus status) noexcept {
  switch (status) {
    case EnqueueStatus::kOk: return "ok";
    case EnqueueStatus::kFull: return "full";
    case EnqueueStatus::kTooLarge: return "too-large";
    case EnqueueStatus::kDuplicate: return "duplicate";
    case EnqueueStatus::kNoMemory: return "no-memory";
    case EnqueueStatus::kDetached: return "detached";
  }
  return "unknown";
}

namespace {
constexpr const char* kReasonNames[] = {"",
                                        "max-retries-exhausted",
                                        "permanent-failure",
                                        "poison-pill",
                                        "hard-time-limit",
                                        "unregistered-task",
                                        "signature-invalid",
                                        "payload-invalid",
                                        "delivery-limit"};
}

const char* to_string(LeaseEnd end) noexcept {
  switch (end) {
    case LeaseEnd::kDied: return "worker-death";
    case LeaseEnd::kSilent: return "worker-silent";
    case LeaseEnd::kExpired: return "lease-expired";
    case LeaseEnd::kDetached: return "worker-left";
    case LeaseEnd::kStopped: return "hard-stop";
  }
  return "unknown";
}

const char* to_string(DeadReason reason) noexcept {
  const auto i = static_cast<std::size_t>(reason);
  return i < std::size(kReasonNames) ? kReasonNames[i] : "unknown";
}

bool parse_dead_reason(std::string_view text, DeadReason& reason) {
  for (std::size_t i = 1; i < std::size(kReasonNames); ++i) {
    if (text != kReasonNames[i]) continue;
    reason = static_cast<DeadReason>(i);
    return true;
  }
  return false;
}

}  // namespace stem::engine
