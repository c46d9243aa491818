// Dead letters as `stem observe dlq` shows them: those that failed alike are one row.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "base/units.hpp"
#include "tools/stem/dlq/selection.hpp"
#include "tools/stem/observe/reports.hpp"
#include "tools/stem/table.hpp"
#include "tools/stem/task/task_report.hpp"
#include "tools/stem/when.hpp"

namespace stem::cli {
namespace {

using engine::DeadLetter;
using nlohmann::ordered_json;

struct Group {
  std::uint64_t count = 0;
  std::int64_t first_ns = 0;
  DeadLetter last;
};

// Most letters first.
std::vector<Group> groups_of(const Scene& scene) {
  std::map<std::pair<std::uint32_t, std::uint64_t>, Group> by_fingerprint;
  const shm::Segment& segment = scene.attachment.segment();
  for (const DeadLetter& letter : engine::DeadLetters(scene.attachment.engine()).list({})) {
    if (!scene.shows_queue(queue_name_of(letter, segment))) continue;
    Group& group = by_fingerprint[{letter.queue, letter.failure.fingerprint}];
    if (group.count++ == 0) group.first_ns = letter.failure.at_ns;
    group.last = letter;
  }
  std::vector<Group> groups;
  for (auto& [key, group] : by_fingerprint) groups.push_back(std::move(group));
  std::stable_sort(groups.begin(), groups.end(), [](const Group& a, const Group& b) { return a.count > b.count; });
  return groups;
}

std::string error_text(const engine::FailureRecord& failure) {
  const std::string_view message = failure.message();
  return fmt::format("{}: {}", failure.kind(), message.substr(0, message.find('\n')));
}

}  // namespace

std::string dead_text(const Scene& scene) {
  const shm::Segment& segment = scene.attachment.segment();
  Table table({{"QUEUE", Align::kLeft, true},
               {"COUNT", Align::kRight},
               {"TASK", Align::kLeft, true},
               {"REASON", Align::kLeft, true},
               {"LAST", Align::kRight},
               {"FINGERPRINT"},
               {"ERROR", Align::kLeft, true}});
  for (const Group& group : groups_of(scene)) {
    const engine::FailureRecord& failure = group.last.failure;
    table.add_row({queue_name_of(group.last, segment), fmt::format("{}", group.count),
                   task_name_of(group.last, segment), std::string(reason_text(failure.reason)),
                   base::human_relative(failure.at_ns - scene.now.at_ns), fingerprint_text(failure.fingerprint),
                   error_text(failure)});
  }
  return table.empty() ? "no dead letters\n" : table.render(scene.style, scene.width);
}

ordered_json dead_json(const Scene& scene) {
  const shm::Segment& segment = scene.attachment.segment();
  const Moment now = Moment::now();
  ordered_json groups = ordered_json::array();
  std::map<std::string, std::uint64_t> by_queue;
  for (const Group& group : groups_of(scene)) {
    const engine::FailureRecord& failure = group.last.failure;
    by_queue[queue_name_of(group.last, segment)] += group.count;
    groups.push_back({{"queue", queue_name_of(group.last, segment)},
                      {"count", group.count},
                      {"task", task_name_of(group.last, segment)},
                      {"reason", reason_text(failure.reason)},
                      {"fingerprint", fingerprint_text(failure.fingerprint)},
                      {"firstAt", write_time(now.to_realtime_ns(group.first_ns))},
                      {"lastAt", write_time(now.to_realtime_ns(failure.at_ns))},
                      {"lastId", to_string(group.last.id)},
                      {"error", {{"kind", failure.kind()}, {"message", failure.message()}}}});
  }
  ordered_json queues = ordered_json::array();
  for (const engine::QueueStats& q : scene.now.queues) {
    if (!scene.shows_queue(q.name)) continue;
    queues.push_back({{"queue", q.name},
                      {"count", by_queue[q.name]},
                      {"added", q.counters[shm::Counter::kDeadAdded]},
                      {"replayed", q.counters[shm::Counter::kDeadReplayed]},
                      {"purged", q.counters[shm::Counter::kDeadPurged]}});
  }
  return {{"queues", queues}, {"groups", groups}};
}

}  // namespace stem::cli
