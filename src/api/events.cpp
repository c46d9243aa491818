#include "stem/events.hpp"

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "api/event_text.hpp"
#include "base/clock.hpp"
#include "base/log.hpp"
#include "engine/engine.hpp"
#include "shm/names.hpp"

namespace stem {

namespace {

constexpr std::int64_t kLookNs = 5'000'000;

// By the clocks of now: the wall clock may have been set since the segment was made.
std::chrono::system_clock::time_point wall_time(std::int64_t monotonic_ns) {
  const std::int64_t ago = base::monotonic_ns() - monotonic_ns;
  return std::chrono::system_clock::now() -
         std::chrono::duration_cast<std::chrono::system_clock::duration>(std::chrono::nanoseconds(ago));
}

}  // namespace

namespace api {

Event to_event(const shm::Event& event, std::string_view by, const shm::Segment& segment) {
  Event e;
  e.name = shm::event_name(event.kind);
  e.at = wall_time(event.at_ns);
  if (event.handle != 0) e.id = engine::to_string(engine::TaskId{segment.epoch(), event.handle});
  if (event.task < shm::task_total(segment)) e.task = shm::task_name(segment, event.task);
  if (event.queue < shm::queue_total(segment)) e.queue = shm::queue_name(segment, event.queue);
  e.attempt = event.attempt;
  e.by = by;
  e.text = event.text;
  if (event.kind == shm::EventKind::kFailed) e.reason = to_string(static_cast<engine::DeadReason>(event.reason));
  e.value = event.value;
  return e;
}

void tell(const OnEvent& listener, const Event& event) noexcept {
  try {
    listener(event);
  } catch (const std::exception& e) {
    log::error("a listener of events threw", {{"event", std::string(event.name)}, {"error", e.what()}});
  } catch (...) {
    log::error("a listener of events threw", {{"event", std::string(event.name)}});
  }
}

}  // namespace api

struct Events::State {
  State(std::shared_ptr<shm::Segment> s, shm::EventDetail detail)
      : segment(std::move(s)), reader(*segment, /*from_now=*/true), following(*segment, detail) {}
  std::shared_ptr<shm::Segment> segment;
  shm::EventReader reader;
  shm::Following following;
};

Events::Events(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
Events::Events(Events&&) noexcept = default;
Events& Events::operator=(Events&&) noexcept = default;
Events::~Events() = default;

Result<Events> Events::follow(std::string_view name_space, const std::string& directory, EventDetail detail) {
  std::string name(name_space);
  if (name.empty()) {
    const char* set = std::getenv("STEM_NAMESPACE");
    name = set != nullptr && *set != '\0' ? set : "stem";
  }
  auto segment = shm::Segment::attach(name, directory);
  if (!segment) return segment.error();
  auto state = std::make_unique<State>(std::move(*segment), api::to_shm(detail));
  (void)state->following.renew(base::monotonic_ns());
  return Events(std::move(state));
}

std::vector<Event> Events::wait(Duration timeout) {
  const std::int64_t began = base::monotonic_ns();
  const std::int64_t deadline =
      timeout.count() > INT64_MAX - began ? INT64_MAX : began + std::max<std::int64_t>(timeout.count(), 0);
  std::vector<Event> events;
  for (;;) {
    const std::int64_t now = base::monotonic_ns();
    (void)state_->following.renew(now);
    for (const shm::ReadEvent& read : state_->reader.read()) {
      shm::Event event = read.event;
      event.text = read.text;
      events.push_back(api::to_event(event, read.by, *state_->segment));
    }
    if (!events.empty() || now >= deadline) return events;
    std::this_thread::sleep_for(std::chrono::nanoseconds(std::min(kLookNs, deadline - now)));
  }
}

std::uint64_t Events::missed() const noexcept { return state_->reader.missed(); }

}  // namespace stem
