// Events as `stem events` and `stem why` show them.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "shm/event_log.hpp"
#include "tools/stem/attachment.hpp"

namespace stem::cli {

// {"event", "at", "id", "task", "queue", "attempt", "worker", ...}: fields that the event has not are left out.
nlohmann::ordered_json event_json(const shm::ReadEvent& event, const shm::Segment& segment, const Moment& now);

// What it means, without its time and task: "failed: IOError: disk is gone; again in 2s".
std::string event_text(const shm::ReadEvent& event, const shm::Segment& segment);

// Looks bad, good or neither.
Tone tone_of_event(shm::EventKind kind);

}  // namespace stem::cli
