// Why one task is where it is: its life with times, and what it waits for.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/query.hpp"
#include "shm/event_log.hpp"
#include "tools/stem/attachment.hpp"
#include "tools/stem/terminal.hpp"

namespace stem::cli {

struct Why {
  std::string state;                 // reference §1; "gone" when nothing is kept of it
  std::vector<std::string> because;  // one reason a line, the gravest first
  std::vector<std::string> advice;   // what to do, as commands
  std::vector<shm::ReadEvent> life;  // what is remembered of it, oldest first
  std::uint64_t ahead = 0;           // of a waiting task: those that go before it
};

struct WhyTask {
  engine::TaskId id;
  std::optional<engine::TaskInfo> info;
  Why why;
};

// Asks the worker what a coroutine handler waits for; as a sentence, empty when it does not say. Writes a word into the
// worker's row, so the segment is not one that is only watched.
std::string ask_where(shm::Segment& segment, const engine::TaskInfo& task);

// Looks for about 50 ms when the task runs or waits for workers that do: what a thread does takes two looks.
WhyTask why(const Attachment& attachment, engine::TaskId id,
            const std::function<std::string(const engine::TaskInfo&)>& where = {});

void print_why(const WhyTask& task, const Attachment& attachment, const Style& style);
nlohmann::ordered_json why_json(const WhyTask& task, const Attachment& attachment);

}  // namespace stem::cli
