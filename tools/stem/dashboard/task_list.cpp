#include "tools/stem/dashboard/task_list.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "engine/query.hpp"
#include "shm/names.hpp"
#include "tools/stem/task/task_report.hpp"
#include "tools/stem/when.hpp"

namespace stem::cli {
namespace {

using engine::OutcomeKind;
using engine::TaskId;
using nlohmann::ordered_json;
using shm::State;

constexpr std::size_t kFarthestPage = 100'000;  // who looks further wants a filter

constexpr std::string_view kStates[] = {"queued",    "delayed", "running",   "retried",
                                        "succeeded", "failed",  "cancelled", "dead"};

// The name that Query gives the state, without reading the rest of the task; empty when it is free, or on its way out.
std::string_view state_name(const shm::Descriptor& d, shm::ControlWord word) {
  const State state = word.state();
  if (state == State::kFree || state == State::kAlloc || state == State::kSettling || state == State::kRetiring)
    return "";
  const shm::TaggedWord outcome(d.outcome.load(std::memory_order_acquire));
  const auto kind = static_cast<OutcomeKind>(outcome.value() >> 32 & 15);
  return engine::name_of_state(state, engine::is_run(d) ? 0 : engine::tally_of(d, word.grant()).attempts,
                               outcome.grant() == word.grant() ? kind : OutcomeKind::kNone);
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

// Names compared once, not for every task.
class Names {
 public:
  Names(const TaskFilter& filter, const shm::Segment& segment) : text_(lower(filter.text)) {
    for (std::uint32_t i = 0; i < shm::queue_total(segment); ++i)
      queues_.push_back(match(shm::queue_name(segment, i), filter.queue));
    for (std::uint32_t i = 0; i < shm::task_total(segment); ++i)
      tasks_.push_back(match(shm::task_name(segment, i), filter.task));
  }

  [[nodiscard]] bool wanted(std::uint32_t queue, std::uint32_t task, TaskId id) const {
    if (queue >= queues_.size() || task >= tasks_.size()) return false;
    if (!queues_[queue].exact || !tasks_[task].exact) return false;
    return queues_[queue].has_text || tasks_[task].has_text || to_string(id).find(text_) != std::string::npos;
  }

 private:
  struct Match {
    bool exact = false, has_text = false;
  };
  [[nodiscard]] Match match(std::string_view name, const std::string& exact) const {
    return {exact.empty() || name == exact, lower(name).find(text_) != std::string::npos};
  }

  std::string text_;
  std::vector<Match> queues_, tasks_;
};

struct Found {
  std::int64_t enqueued_ns = 0;
  TaskId id;
  friend bool operator<(const Found& a, const Found& b) {  // newest first
    return a.enqueued_ns != b.enqueued_ns ? a.enqueued_ns > b.enqueued_ns : a.id.handle < b.id.handle;
  }
};

// The newest `most` of all that are noted.
class Newest {
 public:
  explicit Newest(std::size_t most) : most_(most) {}
  void note(const Found& found) {
    ++noted_;
    if (heap_.size() == most_) {
      if (heap_.empty() || !(found < heap_.front())) return;
      std::pop_heap(heap_.begin(), heap_.end());
      heap_.pop_back();
    }
    heap_.push_back(found);
    std::push_heap(heap_.begin(), heap_.end());
  }
  [[nodiscard]] std::uint64_t noted() const { return noted_; }
  std::vector<Found> sorted() {
    std::sort_heap(heap_.begin(), heap_.end());
    return std::move(heap_);
  }

 private:
  std::size_t most_;
  std::uint64_t noted_ = 0;
  std::vector<Found> heap_;
};

void look_at_slot(std::uint32_t slot, const TaskFilter& filter, const Names& names, const shm::Segment& segment,
                  Newest& newest) {
  const shm::Descriptor& d = segment.descriptor(slot);
  const shm::ControlWord word = d.control.load();
  if (word.state() == State::kFree || word.state() == State::kAlloc) return;
  const std::string_view state = state_name(d, word);
  if (state.empty() || (!filter.state.empty() && filter.state != state)) return;
  const std::uint32_t queue = d.queue;
  const std::uint32_t task = d.task;
  const std::int64_t enqueued_ns = d.enqueued_ns;
  const auto note = [&](std::uint32_t item) {
    const TaskId id = TaskId::make(segment.epoch(), slot, word.generation(), item);
    if (names.wanted(queue, task, id)) newest.note({enqueued_ns, id});
  };
  if (!engine::is_run(d)) return note(0);
  const std::uint32_t pending = engine::run_pending(d, word);
  for (std::uint32_t item = 1; item <= engine::kRunItems; ++item)
    if ((pending & engine::item_bit(item)) != 0) note(item);
}

ordered_json row_of(const engine::TaskInfo& task, const Moment& now) {
  ordered_json row = task_row(task, now);
  if (task.worker != 0) row["worker"] = task.worker_name;
  return row;
}

}  // namespace

Result<ordered_json> list_tasks(const TaskFilter& filter, const Attachment& attachment) {
  if (!filter.state.empty() && std::find(std::begin(kStates), std::end(kStates), filter.state) == std::end(kStates))
    return Error{Errc::kInvalidArgument, fmt::format("'{}' is no state of a task", filter.state.substr(0, 60))};
  const shm::Segment& segment = attachment.segment();
  const std::size_t limit = std::min(filter.limit, kMostListed);
  const std::size_t offset = std::min(filter.offset, kFarthestPage);
  const Names names(filter, segment);
  Newest newest(offset + limit);
  const auto used = segment.slots_used();
  for (std::uint32_t slot = 0; slot < used; ++slot) look_at_slot(slot, filter, names, segment, newest);
  const engine::Query query(attachment.engine());
  const Moment now = Moment::now();
  const std::uint64_t matching = newest.noted();
  const std::vector<Found> found = newest.sorted();
  ordered_json rows = ordered_json::array();
  for (std::size_t i = offset; i < found.size(); ++i)
    if (const auto task = query.task(found[i].id)) rows.push_back(row_of(*task, now));  // else it ended meanwhile
  return ordered_json{{"tasks", rows}, {"matching", matching}, {"limit", limit}, {"offset", offset}};
}

}  // namespace stem::cli
