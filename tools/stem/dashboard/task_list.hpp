// The tasks that a segment holds, found by state, queue, name and text. What is over and kept no result has left
// nothing to be found.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/result.hpp"
#include "tools/stem/attachment.hpp"

namespace stem::cli {

struct TaskFilter {
  std::string state;  // as people know them (reference, states); empty = any, as below
  std::string queue;
  std::string task;
  std::string text;  // part of an id, a task's or a queue's name, in any case of letters
  std::size_t limit = 100;
  std::size_t offset = 0;
};

inline constexpr std::size_t kMostListed = 500;

// {"tasks": [...], "matching": N, "limit", "offset"}: newest first. kInvalidArgument: a state that there is not.
Result<nlohmann::ordered_json> list_tasks(const TaskFilter& filter, const Attachment& attachment);

}  // namespace stem::cli
