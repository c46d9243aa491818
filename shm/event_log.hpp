// What happened lately: a ring of events for each participant, written by it alone and read by anybody, also when it
// is hung or dead.
//
// For people and their tools, not for the protocol: nothing is decided by an event. One may be missing (its writer was
// killed between the change and the note), and the oldest of a participant give way to its newest. What ends or
// interrupts a task is always noted; what every task does (enqueued, started, succeeded) only while somebody follows,
// and each step of it (EventDetail::kSteps) only while somebody follows those: class Following.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "shm/participant.hpp"

namespace stem::shm {

// Names in event_name(): those of Stem's signals where it has one.
enum class EventKind : std::uint8_t {
  kNone = 0,
  // Only while somebody follows.
  kEnqueued,   // value = delay in ns
  kStarted,    // value = since it was enqueued, in ns
  kSucceeded,  // value = run time in ns
  kLimited,    // a rate or concurrency limit held it back; value = for how long, in ns
  kSnoozed,    // value = for how long, in ns
  kDropped,    // by the overflow policy
  // Always.
  kRetry,        // an attempt failed; value = until the next, in ns; text = what went wrong
  kFailed,       // it is a dead letter; reason = engine::DeadReason; text = what went wrong
  kRevoked,      // text = why
  kExpired,      //
  kRedelivered,  // its worker was lost; subject = that worker, text its name; reason = see kSilent; detail = 1 while
                 // it ran it; value = items of a run
  kFenced,       // a late worker was refused: the task was somebody else's by then
  kTimeout,      // its soft time limit has passed
  kReplayed,     // a dead letter runs again
  kScheduled,    // a schedule's tick; subject = its row; value = the planned time (CLOCK_REALTIME)
  kWorkerReady,  // its first processes are there; value = how many
  kWorkerStopping,
  kWorkerShutdown,
  kProcessReady,  // subject = the worker process
  kProcessEnded,  // subject = the worker process; text = how it ended
  kProcessLost,   // found dead, and what it held was made runnable
  kQueuePaused,
  kQueueResumed,
  kWorkerInit,       // a supervisor begins; value = processes it will start
  kScheduleFailed,   // a tick became no task; subject and value as kScheduled; text = "ID: why"
  kControlReceived,  // of a worker or one of its processes; text = the command
  kControlDone,      // ... and answered; text = "COMMAND: ANSWER"
  // Only while somebody follows.
  kScheduleDue,  // subject and value as kScheduled; text = the entry's id
  // Only while somebody follows each step.
  kPublishing,  // complete, and about to be accepted; otherwise as kEnqueued
  kReceived,    // a worker has it in hand, and asks whether it may start; value = since it was enqueued, in ns
  kPostrun,  // its handler is done, and so is what follows from that; value = run time in ns; text = what became of it
  kHeartbeat,  // of a worker process; value = tasks in hand
};
inline constexpr std::uint32_t kEventKinds = static_cast<std::uint32_t>(EventKind::kHeartbeat) + 1;

// How much of what every task does is noted for who follows.
enum class EventDetail : std::uint8_t { kTasks, kSteps };

// "task-retry"; "unknown" for a number that names none.
const char* event_name(EventKind kind) noexcept;
bool parse_event_name(std::string_view text, EventKind& kind) noexcept;

// Event::reason of kRedelivered: a signal that its worker died of, or one of these.
inline constexpr std::uint8_t kSilent = 0;        // it gave no sign of life
inline constexpr std::uint8_t kFirstLoss = 128;   // below it are signals
inline constexpr std::uint8_t kStopped = 252;     // killed on purpose, by a hard stop
inline constexpr std::uint8_t kLeftBehind = 253;  // it left without giving it back
inline constexpr std::uint8_t kLeaseOver = 254;   // the lease was not renewed (auto_renew off)
inline constexpr std::uint8_t kDied = 255;        // nobody saw of what: so does SIGKILL

inline constexpr std::uint16_t kNoName = 0xffff;     // neither queue nor task
inline constexpr std::uint32_t kNobody = ~0u;        // no other participant, no schedule
inline constexpr std::size_t kEventTextBytes = 120;  // what is longer is cut
inline constexpr std::size_t kEventNameBytes = 24;   // the same

struct Event {
  EventKind kind = EventKind::kNone;
  std::uint8_t reason = 0;
  std::uint16_t queue = kNoName;
  std::uint16_t task = kNoName;
  std::uint16_t attempt = 0;  // from 0
  std::int64_t at_ns = 0;     // CLOCK_MONOTONIC
  std::uint64_t handle = 0;   // engine::TaskId::handle; 0 = of no task
  std::uint32_t detail = 0;
  std::uint32_t subject = kNobody;  // what it is about besides the task, see EventKind
  std::int64_t value = 0;
  std::string_view text;  // of kEnqueued and kStarted: the task's traceparent, when it has one
};

// One participant's pen. write() is thread-safe, for a worker's pulse; the rest is of its thread.
class EventWriter {
 public:
  using Listener = std::function<void(const Event&)>;

  explicit EventWriter(Participant& self) noexcept
      : self_(self),
        until_ns_(&self.segment().header().events_until_ns),
        steps_until_ns_(&self.segment().header().steps_until_ns) {}

  // Whether somebody wants to know what every task does. A load of a word that is nearly always in the cache.
  bool followed(std::int64_t now_ns) const noexcept { return until_ns_->load(std::memory_order_relaxed) > now_ns; }
  // Whether somebody wants to know each step, too. Who does is also followed().
  bool stepped(std::int64_t now_ns) const noexcept { return steps_until_ns_->load(std::memory_order_relaxed) > now_ns; }
  void write(const Event& event) noexcept;
  // Called in this process after each event, before write() returns, by whoever writes. It must not throw. To be set
  // before the first event.
  void listen(Listener listener, EventDetail detail = EventDetail::kTasks) {
    listener_ = std::move(listener);
    until_ns_ = &kForEver;
    if (detail == EventDetail::kSteps) steps_until_ns_ = &kForEver;
  }

 private:
  void put(const Event& event) noexcept;

  Participant& self_;
  static constexpr std::atomic<std::int64_t> kForEver{INT64_MAX};
  const std::atomic<std::int64_t>* until_ns_;  // the segment's words; kForEver once a listener of ours wants to know
  const std::atomic<std::int64_t>* steps_until_ns_;
  Listener listener_;
  std::mutex mutex_;
  bool committed_ = false;
};

// An event as a reader has it. The text is its own.
struct ReadEvent {
  Event event;  // without its text, which is below: a view would not outlive a move of this
  std::string text;
  std::string by;  // who wrote it
  std::uint32_t participant = 0;
};

// Reads what all participants have written. Not thread-safe.
class EventReader {
 public:
  // `from_now`: only what is written from here on; otherwise first all that is still there.
  EventReader(const Segment& segment, bool from_now);

  // What is new since the last call, oldest first.
  std::vector<ReadEvent> read();
  // Events that were overwritten before they were read.
  std::uint64_t missed() const noexcept { return missed_; }

 private:
  bool copy(std::uint32_t participant, std::uint64_t position, ReadEvent& into) const;

  const Segment& segment_;
  std::vector<std::uint64_t> next_;  // per participant
  std::uint64_t missed_ = 0;
};

// Somebody follows until then.
void follow_events(const Segment& segment, std::int64_t until_ns, EventDetail detail = EventDetail::kTasks) noexcept;

// The promise of one who follows: to be renewed as long as he reads. Killed, he is followed for three seconds more.
class Following {
 public:
  // The segment outlives it.
  Following(const Segment& segment, EventDetail detail) noexcept : segment_(segment), detail_(detail) {}
  // To be called every second at least. True when the promise had to be renewed.
  bool renew(std::int64_t now_ns) noexcept;

 private:
  static constexpr std::int64_t kForNs = 3'000'000'000;

  const Segment& segment_;
  const EventDetail detail_;
  std::int64_t until_ns_ = 0;
};

}  // namespace stem::shm
