// The segment's side of the journal (docs/journal.md): hints of changed tasks on their way to the writer, and how far
// the writer has come.
//
// Hints may be lost; then the writer finds the change by its patrol. But who waits for his task to be on disk pushes
// until the hint is there.
#pragma once

#include <cstdint>

#include "shm/participant.hpp"
#include "shm/ring.hpp"

namespace stem::shm {

inline constexpr std::int64_t kJournalSilenceNs = 2'000'000'000;  // then its writer counts as gone

// What the writer sleeps for.
enum class JournalRest : std::uint32_t { kAwake = 0, kUntilCommit = 1, kUntilWork = 2 };

inline Ring journal_hints(const Segment& segment) noexcept {
  return {segment.at<RingHeader>(segment.layout().journal), kJournalRingLog2};
}
// Memory for the hints; before the first queue is made durable. False when /dev/shm is full.
[[nodiscard]] bool commit_journal_hints(const Segment& segment) noexcept;

inline Durability durability_of(const Segment& segment, std::uint32_t queue) noexcept {
  return static_cast<Durability>(segment.queue(queue).durability.load(std::memory_order_relaxed));
}

// Whether somebody writes the journal now, and the disk takes it.
inline bool journal_runs(const Segment& segment, std::int64_t now_ns) noexcept {
  const std::int64_t alive = segment.header().journal_alive_ns.load(std::memory_order_acquire);
  return alive != 0 && now_ns - alive < kJournalSilenceNs;
}

// A task of a durable queue has changed. False: the hint found no room, and the writer will look at every slot.
bool note_for_journal(Segment& segment, Ring& hints, std::uint64_t generation, std::uint32_t slot) noexcept;

// Sleeps until hints below `position` are on disk, or until `timeout_ns`; true when they are.
bool await_journal(Segment& segment, std::uint64_t position, std::int64_t timeout_ns) noexcept;

// ---- for the writer

// Everything below `position` is on disk: tells who waits for it.
void publish_journal(Segment& segment, std::uint64_t position) noexcept;
// Sleeps until rung, or `timeout_ns`, unless there is something to do already.
void rest_journal(Participant& self, const Ring& hints, JournalRest rest, std::int64_t timeout_ns) noexcept;

}  // namespace stem::shm
