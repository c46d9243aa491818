// An event of the segment as the public interface shows it.
#pragma once

#include "shm/event_log.hpp"
#include "stem/events.hpp"

namespace stem::api {

Event to_event(const shm::Event& event, std::string_view by, const shm::Segment& segment);

constexpr shm::EventDetail to_shm(EventDetail detail) {
  return detail == EventDetail::kSteps ? shm::EventDetail::kSteps : shm::EventDetail::kTasks;
}

// Calls the user's function; what it throws is logged and goes no further.
void tell(const OnEvent& listener, const Event& event) noexcept;

}  // namespace stem::api
