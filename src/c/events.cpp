// stem.h: what happens to tasks, workers and queues.
#include <algorithm>
#include <chrono>
#include <deque>

#include "c/handles.hpp"
#include "stem/events.hpp"

using stem::c::guarded;
using stem::c::missing;

struct stem_events {
  explicit stem_events(stem::Events opened) : events(std::move(opened)) {}
  stem::Events events;
  std::deque<stem::Event> waiting;
  stem::Event shown;  // what the caller's stem_event points into
};

extern "C" {

int stem_events_follow(const char* name_space, const char* directory, int32_t steps, stem_events** events,
                       stem_error* error) {
  return guarded(error, [&]() -> stem::Result<void> {
    if (events == nullptr) return missing("events");
    *events = nullptr;
    auto opened = stem::Events::follow(stem::c::text(name_space), std::string(stem::c::text(directory)),
                                       steps != 0 ? stem::EventDetail::kSteps : stem::EventDetail::kTasks);
    if (!opened) return opened.error();
    *events = new stem_events(std::move(*opened));
    return {};
  });
}

int stem_events_next(stem_events* events, int64_t timeout_ns, stem_event* event, stem_error* error) {
  return guarded(error, [&]() -> stem::Result<void> {
    if (events == nullptr || event == nullptr) return missing(events == nullptr ? "events" : "event");
    const size_t size = event->size;
    if (size < offsetof(stem_event, value))
      return stem::Error{stem::Errc::kInvalidArgument,
                         "the event's size is not set; begin with {.size = sizeof event}"};
    if (events->waiting.empty())
      for (stem::Event& e : events->events.wait(std::chrono::nanoseconds(timeout_ns)))
        events->waiting.push_back(std::move(e));
    if (events->waiting.empty()) return stem::Error{stem::Errc::kTimeout, "nothing has happened"};
    events->shown = std::move(events->waiting.front());
    events->waiting.pop_front();
    const stem::Event& e = events->shown;
    stem_event made{};
    made.size = std::min(size, sizeof made);
    made.name = e.name.data();  // a literal: ends with a zero byte
    made.id = e.id.c_str();
    made.task = e.task.c_str();
    made.queue = e.queue.c_str();
    made.by = e.by.c_str();
    made.text = e.text.c_str();
    made.reason = e.reason.c_str();
    made.attempt = e.attempt;
    made.at_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(e.at.time_since_epoch()).count();
    made.value = e.value;
    std::memcpy(event, &made, made.size);
    return {};
  });
}

uint64_t stem_events_missed(const stem_events* events) { return events == nullptr ? 0 : events->events.missed(); }

void stem_events_close(stem_events* events) { delete events; }

}  // extern "C"
