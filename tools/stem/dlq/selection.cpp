#include "tools/stem/dlq/selection.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>

#include "shm/names.hpp"
#include "tools/stem/nearest.hpp"
#include "tools/stem/task/task_report.hpp"
#include "tools/stem/when.hpp"

namespace stem::cli {
namespace {

using engine::DeadLetter;
using engine::DeadReason;
using nlohmann::ordered_json;

Result<std::uint8_t> parse_reason(std::string_view text) {
  DeadReason reason{};
  if (engine::parse_dead_reason(text, reason)) return static_cast<std::uint8_t>(reason);
  std::vector<std::string> names;
  for (auto i = static_cast<int>(DeadReason::kMaxRetriesExhausted); i <= static_cast<int>(DeadReason::kDeliveryLimit);
       ++i) {
    names.emplace_back(to_string(static_cast<DeadReason>(i)));
  }
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  return Error{Errc::kInvalidArgument,
               fmt::format("'{}' is none of {}{}", shortened(text, 60), list, did_you_mean(text, names))};
}

Result<std::uint64_t> parse_fingerprint(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc{} || end != text.data() + text.size() || value == 0) {
    return Error{Errc::kInvalidArgument, fmt::format("'{}' is no fingerprint; it has up to 16 hexadecimal digits",
                                                     shortened(printable(text), 60))};
  }
  return value;
}

Result<std::vector<DeadLetter>> letters_of_ids(const DeadSelection& selection, const engine::DeadFilter& filter,
                                               const engine::DeadLetters& dead) {
  std::vector<DeadLetter> found;
  for (const std::string& text : selection.ids) {
    engine::DeadFilter one = filter;
    if (!engine::parse_task_id(text, one.id)) {
      return Error{Errc::kInvalidArgument, fmt::format("'{}' is no task id; one looks like 1f2e3d4c-00000000abc00012",
                                                       shortened(printable(text), 60))};
    }
    const auto letters = dead.list(one);
    if (letters.empty()) {
      return Error{Errc::kNotFound, fmt::format("no dead letter {}{}", to_string(one.id),
                                                selection.ids.size() == 1 ? "" : "; nothing was done")};
    }
    const bool twice = std::any_of(found.begin(), found.end(),
                                   [&](const DeadLetter& letter) { return letter.id == letters.front().id; });
    if (!twice) found.push_back(letters.front());
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const DeadLetter& a, const DeadLetter& b) { return a.failure.at_ns < b.failure.at_ns; });
  return found;
}

ordered_json counts_json(const std::vector<std::pair<std::string, std::uint64_t>>& counts) {
  ordered_json object = ordered_json::object();
  for (const auto& [name, count] : counts) object[name] = count;
  return object;
}

std::vector<std::pair<std::string, std::uint64_t>> most_first(const std::map<std::string, std::uint64_t>& counts) {
  std::vector<std::pair<std::string, std::uint64_t>> sorted(counts.begin(), counts.end());
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  return sorted;
}

void print_counts(std::string_view title, const std::vector<std::pair<std::string, std::uint64_t>>& counts) {
  constexpr std::size_t kMostLines = 20;
  for (std::size_t i = 0; i < counts.size() && i < kMostLines; ++i) {
    fmt::print("{:<10} {:>8}  {}\n", i == 0 ? title : "", counts[i].second, printable(counts[i].first));
  }
  if (counts.size() > kMostLines) {
    fmt::print("{:<10} {:>8}  more\n", "", counts.size() - kMostLines);
  }
}

std::vector<DeadRow> rows_of(const std::vector<DeadLetter>& letters, const shm::Segment& segment) {
  const Moment now = Moment::now();
  std::vector<DeadRow> rows;
  for (const DeadLetter& letter : letters) {
    const std::string_view reason = reason_text(letter.failure.reason);
    rows.push_back({queue_name_of(letter, segment), task_name_of(letter, segment),
                    reason.empty() ? "unknown" : std::string(reason), now.to_realtime_ns(letter.failure.at_ns)});
  }
  return rows;
}

}  // namespace

void declare_selection(CommandLine& line, DeadSelection& selection) {
  line.texts("--id", &selection.ids, "this dead letter").named("ID");
  line.texts("-q,--queue", &selection.queues, "of this queue").named("QUEUE");
  line.parsed<std::uint8_t>("--reason", &selection.reason, parse_reason, "that died of this, as max-retries-exhausted")
      .named("REASON");
  line.parsed<std::uint64_t>("--fingerprint", &selection.fingerprint, parse_fingerprint,
                             "whose failure looks like this")
      .named("HEX");
  line.when_ns("--since", &selection.since_realtime_ns, Toward::kPast, "that died since then");
  line.count("--limit", &selection.limit, "at most so many, oldest first");
  line.count("--offset", &selection.offset, "pass over so many");
}

Result<SelectedLetters> select(const DeadSelection& selection, const Attachment& attachment) {
  const engine::DeadLetters dead(attachment.engine());
  engine::DeadFilter filter;
  std::vector<std::uint32_t> queues;
  for (const std::string& name : selection.queues) {
    const auto id = queue_named(attachment.segment(), name);
    if (!id.ok()) return id.error();
    queues.push_back(*id);
  }
  filter.reason = selection.reason;
  filter.fingerprint = selection.fingerprint;
  if (selection.since_realtime_ns) {
    filter.since_ns = Moment::now().to_monotonic_ns(*selection.since_realtime_ns);
  }
  SelectedLetters selected;
  if (selection.ids.empty()) {
    selected.letters = dead.list(filter);
  } else {
    auto found = letters_of_ids(selection, filter, dead);
    if (!found.ok()) return found.error();
    selected.letters = std::move(*found);
  }
  auto& letters = selected.letters;
  if (!queues.empty()) {
    std::erase_if(letters, [&](const DeadLetter& letter) {
      return std::find(queues.begin(), queues.end(), letter.queue) == queues.end();
    });
  }
  selected.matching = letters.size();
  const auto skipped = std::min<std::uint64_t>(selection.offset, letters.size());
  letters.erase(letters.begin(), letters.begin() + static_cast<std::ptrdiff_t>(skipped));
  if (selection.limit && letters.size() > *selection.limit) {
    letters.erase(letters.begin() + static_cast<std::ptrdiff_t>(*selection.limit), letters.end());
  }
  return selected;
}

std::string task_name_of(const DeadLetter& letter, const shm::Segment& segment) {
  return letter.task < shm::task_total(segment) ? std::string(shm::task_name(segment, letter.task))
                                                : fmt::format("#{}", letter.task);
}

std::string queue_name_of(const DeadLetter& letter, const shm::Segment& segment) {
  return letter.queue < shm::queue_total(segment) ? std::string(shm::queue_name(segment, letter.queue))
                                                  : fmt::format("#{}", letter.queue);
}

BlastRadius::BlastRadius(const std::vector<DeadLetter>& letters, const shm::Segment& segment)
    : BlastRadius(rows_of(letters, segment)) {}

BlastRadius::BlastRadius(const std::vector<DeadRow>& rows) : count_(rows.size()) {
  std::map<std::string, std::uint64_t> by_queue;
  std::map<std::string, std::uint64_t> by_task;
  std::map<std::string, std::uint64_t> by_reason;
  for (const DeadRow& row : rows) {
    ++by_queue[row.queue];
    ++by_task[row.task];
    ++by_reason[row.reason];
  }
  by_queue_ = most_first(by_queue);
  by_task_ = most_first(by_task);
  by_reason_ = most_first(by_reason);
  if (!rows.empty()) {
    oldest_ns_ = rows.front().at_realtime_ns;
    newest_ns_ = rows.back().at_realtime_ns;
  }
}

ordered_json BlastRadius::json() const {
  ordered_json object{{"count", count_},
                      {"byQueue", counts_json(by_queue_)},
                      {"byTask", counts_json(by_task_)},
                      {"byReason", counts_json(by_reason_)},
                      {"oldest", nullptr},
                      {"newest", nullptr}};
  if (count_ > 0) {
    object["oldest"] = write_time(oldest_ns_);
    object["newest"] = write_time(newest_ns_);
  }
  return object;
}

void BlastRadius::print() const {
  const Moment now = Moment::now();
  print_counts("queue", by_queue_);
  print_counts("task", by_task_);
  print_counts("reason", by_reason_);
  if (count_ == 0) return;
  fmt::print("{:<10} {}\n", "oldest", show_time(oldest_ns_, now.realtime_ns));
  fmt::print("{:<10} {}\n", "newest", show_time(newest_ns_, now.realtime_ns));
}

}  // namespace stem::cli
