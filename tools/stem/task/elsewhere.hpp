// Tasks that are not on this host: what Redis knows of them, by their name in the cluster (HOST-ID).
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "engine/task.hpp"
#include "federation/records.hpp"
#include "federation/task_search.hpp"
#include "shm/segment.hpp"
#include "tools/stem/redis_choice.hpp"

namespace stem::cli {

// The name that a task of this segment has in the cluster.
std::string cluster_name(const shm::Segment& segment, engine::TaskId id);

bool is_over(const federation::TaskStatus& status);

// As `stem task show` and `stem task wait` print it.
void print_elsewhere(const federation::TaskStatus& status);
nlohmann::ordered_json json_elsewhere(const federation::TaskStatus& status);
// Until it is over, or the deadline (CLOCK_MONOTONIC): then what is known by then.
Result<std::optional<federation::TaskStatus>> wait_elsewhere(federation::TaskSearch& search, const std::string& id,
                                                             std::int64_t deadline_ns);

enum class RevokedElsewhere {
  kSent,  // whoever has it will see; or nobody has
  kOver,
};
Result<RevokedElsewhere> revoke_elsewhere(RedisHold& redis, federation::TaskSearch& search, const std::string& id,
                                          bool terminate);

}  // namespace stem::cli
