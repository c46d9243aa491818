// What `stem observe` prints of queues, workers, tasks and dead letters: as a table, and as JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "tools/stem/observe/look.hpp"
#include "tools/stem/terminal.hpp"

namespace stem::cli {

struct Scene {
  const Attachment& attachment;
  const Look& before;
  const Look& now;
  const Heartbeats& heartbeats;
  const std::vector<std::string>& queues;  // only these; empty: all
  Style style;
  std::size_t width = 0;  // columns; 0 = endless

  [[nodiscard]] bool shows_queue(const std::string& name) const;
};

std::string queues_text(const Scene& scene);
nlohmann::ordered_json queues_json(const Scene& scene);

std::string workers_text(const Scene& scene);
nlohmann::ordered_json workers_json(const Scene& scene);

std::string tasks_text(const Scene& scene);
nlohmann::ordered_json tasks_json(const Scene& scene);

// Dead letters that failed alike, as groups.
std::string dead_text(const Scene& scene);
nlohmann::ordered_json dead_json(const Scene& scene);

// Duration of a measured value; empty when there were no samples.
std::string measured(std::int64_t ns, std::uint64_t samples);

}  // namespace stem::cli
