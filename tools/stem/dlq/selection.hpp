// Which dead letters a command is about, and what acting on them would touch.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/dead_letters.hpp"
#include "tools/stem/attachment.hpp"
#include "tools/stem/command_line.hpp"

namespace stem::cli {

struct DeadSelection {
  std::vector<std::string> ids;
  std::vector<std::string> queues;  // of one of these; none = any
  std::uint8_t reason = 0;
  std::uint64_t fingerprint = 0;
  std::optional<std::int64_t> since_realtime_ns;
  std::optional<std::uint64_t> limit;
  std::uint64_t offset = 0;
};

// --id, -q, --reason, --fingerprint, --since, --limit, --offset.
void declare_selection(CommandLine& line, DeadSelection& selection);

struct SelectedLetters {
  std::vector<engine::DeadLetter> letters;  // oldest death first, within limit and offset
  std::uint64_t matching = 0;               // before limit and offset
};

// kNotFound: no such queue, or an id that is no dead letter. kInvalidArgument: what is no id.
Result<SelectedLetters> select(const DeadSelection& selection, const Attachment& attachment);

std::string task_name_of(const engine::DeadLetter& letter, const shm::Segment& segment);
std::string queue_name_of(const engine::DeadLetter& letter, const shm::Segment& segment);

// What of a dead letter is counted, wherever it is kept.
struct DeadRow {
  std::string queue, task, reason;
  std::int64_t at_realtime_ns = 0;
};

// Counts by task and by reason, oldest, newest.
class BlastRadius {
 public:
  explicit BlastRadius(const std::vector<DeadRow>& rows);  // oldest first
  BlastRadius(const std::vector<engine::DeadLetter>& letters, const shm::Segment& segment);

  [[nodiscard]] nlohmann::ordered_json json() const;
  void print() const;

 private:
  using Counts = std::vector<std::pair<std::string, std::uint64_t>>;  // most first

  std::uint64_t count_ = 0;
  Counts by_queue_, by_task_, by_reason_;
  std::int64_t oldest_ns_ = 0, newest_ns_ = 0;  // CLOCK_REALTIME
};

}  // namespace stem::cli
