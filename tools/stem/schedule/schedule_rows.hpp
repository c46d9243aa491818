// Schedules as people and programs see them: found by id, as a row, as JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "beat/store.hpp"

namespace stem::cli {

// When the next tick is fired, jitter included; nothing when there is none.
std::optional<std::int64_t> next_fire_ns(const beat::StoredEntry& stored, std::int64_t now_ns);

// "in 5m", "2s late".
std::string next_text(const beat::StoredEntry& stored, std::int64_t now_ns);
std::string last_text(const beat::StoredEntry& stored, std::int64_t now_ns);

nlohmann::ordered_json schedule_json(const beat::StoredEntry& stored, std::int64_t now_ns);

}  // namespace stem::cli
