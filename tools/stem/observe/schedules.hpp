// What `stem observe schedules` and the metrics say of beat.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/histogram.hpp"
#include "beat/store.hpp"
#include "tools/stem/observe/reports.hpp"

namespace stem::cli {

// Read without giving memory to what was never used.
struct BeatFigures {
  std::uint64_t counters[shm::kBeatCounterCount] = {};
  base::HistogramSummary drift, dispatch;
  double drift_sum_ns = 0, dispatch_sum_ns = 0;
  std::string holder;  // name and process of who fires; empty: nobody
  std::uint32_t token = 0;
  std::vector<beat::StoredEntry> entries;
  std::uint64_t due = 0;      // their time has come
  std::uint64_t overdue = 0;  // ... more than a second ago

  [[nodiscard]] std::uint64_t operator[](shm::BeatCounter counter) const { return counters[static_cast<int>(counter)]; }
};
BeatFigures beat_figures(const Attachment& attachment, std::int64_t realtime_ns);

std::string schedules_text(const Scene& scene);
nlohmann::ordered_json schedules_json(const Scene& scene);

}  // namespace stem::cli
