// The segment's side of the journal (docs/journal.md): marks of changed tasks for the writer, and how far it has come.
//
// Marks may be lost, with whoever is killed before he sets one; then the writer finds the change by its patrol.
#pragma once

#include <array>
#include <cstdint>

#include "shm/participant.hpp"

namespace stem::shm {

inline constexpr std::int64_t kJournalSilenceNs = 2'000'000'000;  // then its writer counts as gone

// What the writer sleeps for.
enum class JournalRest : std::uint32_t { kAwake = 0, kUntilCommit = 1, kUntilWork = 2 };

// A bit for each slot whose task has changed since the writer looked at it (layout.hpp). Neighbours share a word, not
// all producers one; a mark never finds the table full, and a second one of the same slot costs the writer nothing.
//
// A view: cheap, thread-safe, lives no longer than the segment.
class JournalMarks {
 public:
  static constexpr std::uint32_t kLineWords = kMarkLineSlots / 64;
  using Line = std::array<std::uint64_t, kLineWords>;  // bit s of word w: slot 64 w + s of the line

  explicit JournalMarks(const Segment& segment) noexcept
      : summary_(segment.at<std::atomic<std::uint64_t>>(segment.layout().journal)),
        marks_(segment.at<std::atomic<std::uint64_t>>(segment.layout().journal +
                                                      mark_summary_bytes(segment.geometry().slot_count))),
        lines_(static_cast<std::uint32_t>(mark_lines(segment.geometry().slot_count))) {}

  void set(std::uint32_t slot) noexcept {
    const std::uint32_t line = slot / kMarkLineSlots;
    // order(journal.mark): seq_cst, as all of these; the change before the mark, and the mark before the look at the
    // line's bit: who finds that set has marked before take() clears it, and so before it takes the marks.
    marks_[slot / 64].fetch_or(std::uint64_t{1} << (slot % 64), std::memory_order_seq_cst);
    std::atomic<std::uint64_t>& above = summary_[line / 64];
    const std::uint64_t bit = std::uint64_t{1} << (line % 64);
    if ((above.load(std::memory_order_seq_cst) & bit) == 0) above.fetch_or(bit, std::memory_order_seq_cst);
  }

  bool any() const noexcept;
  // How many there are; for people.
  std::uint64_t count() const noexcept;
  // For the writer: takes the marks of the first marked line from `line` on, and moves `line` there. False when there
  // is none.
  bool take(std::uint32_t& line, Line& marks) noexcept;

 private:
  std::atomic<std::uint64_t>* summary_;
  std::atomic<std::uint64_t>* marks_;
  std::uint32_t lines_;
};

// Memory for the marks; before the first queue is made durable. False when /dev/shm is full.
[[nodiscard]] bool commit_journal_marks(const Segment& segment) noexcept;

inline Durability durability_of(const Segment& segment, std::uint32_t queue) noexcept {
  return static_cast<Durability>(segment.queue(queue).durability.load(std::memory_order_relaxed));
}

// Whether somebody writes the journal now, and the disk takes it.
inline bool journal_runs(const Segment& segment, std::int64_t now_ns) noexcept {
  const std::int64_t alive = segment.header().journal_alive_ns.load(std::memory_order_acquire);
  return alive != 0 && now_ns - alive < kJournalSilenceNs;
}

// A task of a durable queue has changed.
void note_for_journal(Segment& segment, JournalMarks& marks, std::uint32_t slot) noexcept;

// The position at which everything that was marked before this call is on disk: with the next look at all marks.
inline std::uint64_t journal_position(const Segment& segment) noexcept {
  // order(journal.looks): seq_cst; after our marks. A look that had begun before may have passed them, the next has not.
  return segment.header().journal_looks.load(std::memory_order_seq_cst) + 1;
}

// Somebody waits for that position: the writer hurries.
void hurry_journal(Segment& segment, std::uint64_t position) noexcept;
// Sleeps until that position is on disk, or until that time of the kernel's CLOCK_MONOTONIC; true when it is.
bool await_journal(Segment& segment, std::uint64_t position, std::int64_t until_ns) noexcept;

// ---- for the writer

// Everything up to `position` is on disk: wakes who waits for it, and nobody who waits for more.
void publish_journal(Segment& segment, std::uint64_t position) noexcept;
// Sleeps until rung, or `timeout_ns`, unless there is something to do already.
void rest_journal(Participant& self, const JournalMarks& marks, JournalRest rest, std::int64_t timeout_ns) noexcept;

}  // namespace stem::shm
