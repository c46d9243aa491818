// One picture of `stem top`: queues, workers, task names, cut to the room there is.
#pragma once

#include <string>
#include <vector>

#include "tools/stem/observe/look.hpp"
#include "tools/stem/terminal.hpp"
#include "tools/stem/top/limits.hpp"

namespace stem::cli {

// What stands below the queues.
enum class Below { kWorkersAndTasks, kTimes, kLimits };

struct FrameInput {
  const Attachment& attachment;
  const Look& before;
  const Look& now;
  std::size_t selected = 0;  // queue, as an index of now.queues
  Below below = Below::kWorkersAndTasks;
  const std::vector<LimitFigures>* limits = nullptr;  // of Below::kLimits
  bool interactive = false;                           // with a selection and a line of keys
  std::string bottom;                                 // instead of the line of keys: a question
  Style style;
  std::size_t width = 80;
  std::size_t height = 0;  // 0 = endless
};

std::vector<std::string> frame_lines(const FrameInput& input);

// The order in which queues are shown, as indices: the fullest first, by powers of ten and then by name, so that rows
// do not change places at every look.
std::vector<std::size_t> fullest_first(const std::vector<engine::QueueStats>& queues);

// A share of something, in eighths of a cell: "███▌    ".
std::string bar(double share, std::size_t cells);

}  // namespace stem::cli
