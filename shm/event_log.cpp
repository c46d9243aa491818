#include "shm/event_log.hpp"

#include <algorithm>
#include <cstring>
#include <iterator>

namespace stem::shm {
namespace {

constexpr const char* kNames[] = {"none",
                                  "after-task-publish",
                                  "task-prerun",
                                  "task-succeeded",
                                  "task-limited",
                                  "task-snoozed",
                                  "task-dropped",
                                  "task-retry",
                                  "task-failed",
                                  "task-revoked",
                                  "task-expired",
                                  "task-redelivered",
                                  "task-fenced",
                                  "task-timeout",
                                  "task-replayed",
                                  "schedule-entry-dispatched",
                                  "worker-ready",
                                  "worker-stopping",
                                  "worker-shutdown",
                                  "worker-child-init",
                                  "worker-child-shutdown",
                                  "worker-lost",
                                  "queue-paused",
                                  "queue-resumed",
                                  "worker-init",
                                  "schedule-entry-failed",
                                  "control-command-received",
                                  "control-command-completed",
                                  "schedule-entry-due",
                                  "before-task-publish",
                                  "task-received",
                                  "task-postrun",
                                  "worker-heartbeat"};
static_assert(std::size(kNames) == kEventKinds);

constexpr std::size_t kNameAt = 5;  // in words
constexpr std::size_t kTextAt = kNameAt + kEventNameBytes / 8;
static_assert(EventCell::kWords == kTextAt + kEventTextBytes / 8);

std::string text_at(const std::uint64_t* words, std::size_t bytes) {
  char text[std::max(kEventTextBytes, kEventNameBytes)];
  std::memcpy(text, words, bytes);
  return {text, ::strnlen(text, bytes)};
}

EventCell& cell_of(const Segment& segment, std::uint32_t participant, std::uint64_t position) {
  return segment.at<EventCell>(
      segment.layout().events)[std::uint64_t{participant} * kEventCells + position % kEventCells];
}

// Cut where a character ends.
std::size_t whole_characters(std::string_view text, std::size_t most) {
  if (text.size() <= most) return text.size();
  std::size_t n = most;
  while (n > 0 && (static_cast<unsigned char>(text[n]) & 0xc0) == 0x80) --n;
  return n;
}

}  // namespace

const char* event_name(EventKind kind) noexcept {
  const auto i = static_cast<std::size_t>(kind);
  return i < std::size(kNames) ? kNames[i] : "unknown";
}

bool parse_event_name(std::string_view text, EventKind& kind) noexcept {
  for (std::size_t i = 1; i < std::size(kNames); ++i) {
    if (text != kNames[i]) continue;
    kind = static_cast<EventKind>(i);
    return true;
  }
  return false;
}

void EventWriter::write(const Event& event) noexcept {
  put(event);
  if (listener_) listener_(event);
}

void EventWriter::put(const Event& event) noexcept {
  const std::lock_guard guard(mutex_);
  Segment& segment = self_.segment();
  if (!committed_) {
    const Offset offset = segment.offset_of(&cell_of(segment, self_.index(), 0));
    committed_ = segment.commit(offset, kEventCells * sizeof(EventCell));
    if (!committed_) return;  // /dev/shm is full: no reason to fail
  }
  std::uint64_t words[EventCell::kWords] = {};
  words[0] = static_cast<std::uint64_t>(event.at_ns);
  words[1] = event.handle;
  words[2] = std::uint64_t{static_cast<std::uint8_t>(event.kind)} << 56 | std::uint64_t{event.reason} << 48 |
             std::uint64_t{event.queue} << 32 | std::uint64_t{event.task} << 16 | event.attempt;
  words[3] = std::uint64_t{event.detail} << 32 | event.subject;
  words[4] = static_cast<std::uint64_t>(event.value);
  const char* name = self_.row().name;
  const std::string_view by(name, ::strnlen(name, sizeof self_.row().name));
  by.copy(reinterpret_cast<char*>(words + kNameAt), whole_characters(by, kEventNameBytes));
  event.text.copy(reinterpret_cast<char*>(words + kTextAt), whole_characters(event.text, kEventTextBytes));

  std::atomic<std::uint64_t>& next = self_.row().events_next;
  const std::uint64_t position = next.load(std::memory_order_relaxed);
  EventCell& cell = cell_of(segment, self_.index(), position);
  // order(event.cell): the stamp is gone before the words change, and names them once they are there; a reader looks
  // at it on both sides of its copy.
  cell.stamp.store(0, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  for (std::size_t i = 0; i < EventCell::kWords; ++i) cell.words[i].store(words[i], std::memory_order_relaxed);
  cell.stamp.store(position + 1, std::memory_order_release);
  next.store(position + 1, std::memory_order_release);
}

EventReader::EventReader(const Segment& segment, bool from_now)
    : segment_(segment), next_(segment.geometry().participant_count, 0) {
  const std::uint32_t rows = segment_.rows_used();
  for (std::uint32_t i = 0; i < rows; ++i) {
    const std::uint64_t end = segment_.row(i).events_next.load(std::memory_order_acquire);
    next_[i] = from_now ? end : end - std::min<std::uint64_t>(end, kEventCells);
  }
}

bool EventReader::copy(std::uint32_t participant, std::uint64_t position, ReadEvent& into) const {
  const EventCell& cell = cell_of(segment_, participant, position);
  // order(event.cell): acquire; pairs with the stores in EventWriter::put(): the words belong to the stamp that stands
  // before and after them.
  if (cell.stamp.load(std::memory_order_acquire) != position + 1) return false;
  std::uint64_t words[EventCell::kWords];
  for (std::size_t i = 0; i < EventCell::kWords; ++i) words[i] = cell.words[i].load(std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_acquire);
  if (cell.stamp.load(std::memory_order_relaxed) != position + 1) return false;
  Event& e = into.event;
  e.at_ns = static_cast<std::int64_t>(words[0]);
  e.handle = words[1];
  e.kind = static_cast<EventKind>(words[2] >> 56);
  e.reason = static_cast<std::uint8_t>(words[2] >> 48);
  e.queue = static_cast<std::uint16_t>(words[2] >> 32);
  e.task = static_cast<std::uint16_t>(words[2] >> 16);
  e.attempt = static_cast<std::uint16_t>(words[2]);
  e.subject = static_cast<std::uint32_t>(words[3]);
  e.detail = static_cast<std::uint32_t>(words[3] >> 32);
  e.value = static_cast<std::int64_t>(words[4]);
  into.by = text_at(words + kNameAt, kEventNameBytes);
  into.text = text_at(words + kTextAt, kEventTextBytes);
  into.participant = participant;
  return static_cast<std::uint32_t>(e.kind) < kEventKinds;
}

std::vector<ReadEvent> EventReader::read() {
  std::vector<ReadEvent> events;
  const std::uint32_t rows = segment_.rows_used();
  for (std::uint32_t i = 0; i < rows; ++i) {
    const std::uint64_t end = segment_.row(i).events_next.load(std::memory_order_acquire);
    if (end == 0 || end == next_[i]) continue;  // never written: there may be no memory behind its ring
    std::uint64_t& next = next_[i];
    if (end - next > kEventCells) {  // also of one who counts backwards, which only an enemy does
      if (end > next) missed_ += end - next - kEventCells;
      next = end - std::min<std::uint64_t>(end, kEventCells);
    }
    for (; next < end; ++next) {
      ReadEvent event;
      if (copy(i, next, event))
        events.push_back(std::move(event));
      else
        ++missed_;
    }
  }
  std::stable_sort(events.begin(), events.end(),
                   [](const ReadEvent& a, const ReadEvent& b) { return a.event.at_ns < b.event.at_ns; });
  return events;
}

// Relaxed, as the look in EventWriter::followed(): whoever sees it late notes an event less.
void follow_events(const Segment& segment, std::int64_t until_ns, EventDetail detail) noexcept {
  const auto raise = [until_ns](std::atomic<std::int64_t>& until) {
    std::int64_t was = until.load(std::memory_order_relaxed);
    while (was < until_ns && !until.compare_exchange_weak(was, until_ns, std::memory_order_relaxed)) {
    }
  };
  raise(segment.header().events_until_ns);
  if (detail == EventDetail::kSteps) raise(segment.header().steps_until_ns);
}

bool Following::renew(std::int64_t now_ns) noexcept {
  if (until_ns_ - now_ns >= kForNs / 2) return false;
  until_ns_ = now_ns + kForNs;
  follow_events(segment_, until_ns_, detail_);
  return true;
}

}  // namespace stem::shm
