#include "tools/stem/schedule/schedule_rows.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/units.hpp"
#include "tools/stem/when.hpp"

namespace stem::cli {

using nlohmann::ordered_json;

namespace {

constexpr std::int64_t kLateNs = 1'000'000'000;  // less is on its way

ordered_json time_json(std::optional<std::int64_t> time_ns) {
  return time_ns && *time_ns != 0 ? ordered_json(write_time(*time_ns)) : ordered_json(nullptr);
}

}  // namespace

std::optional<std::int64_t> next_fire_ns(const beat::StoredEntry& stored, std::int64_t now_ns) {
  const auto planned = stored.next_planned_ns(now_ns);
  if (!planned) return std::nullopt;
  return *planned + stored.entry.jitter_of(*planned);
}

std::string next_text(const beat::StoredEntry& stored, std::int64_t now_ns) {
  const auto at_ns = next_fire_ns(stored, now_ns);
  if (!at_ns) return "";
  if (now_ns - *at_ns > kLateNs) return base::human_duration(now_ns - *at_ns) + " late";
  return base::human_relative(std::max<std::int64_t>(*at_ns - now_ns, 0));
}

std::string last_text(const beat::StoredEntry& stored, std::int64_t now_ns) {
  return stored.figures.fired_at_ns == 0 ? "" : base::human_relative(stored.figures.fired_at_ns - now_ns);
}

ordered_json schedule_json(const beat::StoredEntry& stored, std::int64_t now_ns) {
  const beat::Entry& entry = stored.entry;
  const beat::TickFigures& figures = stored.figures;
  const auto object_or_null = [](const nlohmann::json& value) { return ordered_json(value); };
  return {{"id", entry.id},
          {"task", entry.task},
          {"queue", entry.queue.empty() ? "default" : entry.queue},
          {"spec", object_or_null(entry.spec_written)},
          {"timezone", entry.zone.name()},
          {"enabled", entry.enabled},
          {"jitterMs", entry.jitter_ns / 1'000'000},
          {"misfire", beat::to_string(entry.misfire)},
          {"misfireMax", entry.misfire_max},
          {"args", object_or_null(entry.args)},
          {"kwargs", object_or_null(entry.kwargs)},
          {"meta", object_or_null(entry.meta)},
          {"options", object_or_null(entry.options)},
          {"createdAt", write_time(stored.created_ns)},
          {"sinceAt", write_time(stored.since_ns)},
          {"version", stored.word.version()},
          {"nextAt", time_json(next_fire_ns(stored, now_ns))},
          {"lastPlannedAt", time_json(figures.fired_ns)},
          {"lastFiredAt", time_json(figures.fired_at_ns)},
          {"driftNs", figures.fired_at_ns == 0 ? ordered_json(nullptr) : ordered_json(figures.drift_ns)},
          {"fired", figures.fired},
          {"failed", figures.failed},
          {"skipped", figures.skipped},
          {"deduplicated", figures.deduplicated},
          {"lastError", figures.last_status == engine::EnqueueStatus::kOk
                            ? ordered_json(nullptr)
                            : ordered_json(engine::to_string(figures.last_status))}};
}

}  // namespace stem::cli
