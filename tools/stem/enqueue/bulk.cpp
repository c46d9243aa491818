#include "tools/stem/enqueue/bulk.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "base/units.hpp"
#include "tools/stem/json_output.hpp"

namespace stem::cli {
namespace {

constexpr std::size_t kTogether = 256;

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t\r") == std::string_view::npos; }

}  // namespace

void Bulk::accept(const detail::Enqueued& enqueued) {
  ++(enqueued.duplicate ? report_.duplicates : report_.enqueued);
  if (!options_.print_ids) return;
  if (options_.ids_as_json) {
    print_json_line({{"id", to_string(enqueued.id)}, {"duplicate", enqueued.duplicate}});
  } else {
    fmt::print("{}\n", to_string(enqueued.id));
  }
}

// False: stop here.
bool Bulk::refuse(std::uint64_t line, const Error& error, ProgressBar& progress) {
  ++report_.bad;
  if (report_.first_bad.size() < kMostBadLines) {
    report_.first_bad.push_back({line, error.message, error.code});
    progress.clear();
    print_error(fmt::format("enqueue: {}:{}: {}", options_.source, line, error.message));
  }
  // A bad line may be skipped; a full segment will not take the next one either.
  return options_.keep_going && (error.code == Errc::kInvalidArgument || error.code == Errc::kTooLarge);
}

bool Bulk::flush(ProgressBar& progress) {
  EnqueueOptions options = flags_.options;
  options.queue.clear();  // stands in the descriptor
  while (!waiting_.empty()) {
    std::vector<BytesView> payloads;
    for (const Waiting& one : waiting_) {
      payloads.push_back(std::as_bytes(std::span(one.payload.data(), one.payload.size())));
    }
    std::vector<detail::Enqueued> made(waiting_.size());
    std::size_t done = 0;
    const auto error = client_.port().enqueue_many(info_of(flags_, options_.keep_results), payloads,
                                                   /*in_place=*/false, &options, made.data(), done);
    for (std::size_t i = 0; i < done; ++i) accept(made[i]);
    if (error == nullptr) {
      waiting_.clear();
      return true;
    }
    const std::uint64_t line = waiting_[done].line;
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(done) + 1);
    if (!refuse(line, *error, progress)) {
      waiting_.clear();
      return false;
    }
  }
  return true;
}

bool Bulk::hand_in(const Order& order, ProgressBar& progress) {
  const detail::Enqueued enqueued = enqueue(client_, order, options_.keep_results);
  if (enqueued.error) return refuse(report_.lines, *enqueued.error, progress);
  accept(enqueued);
  return true;
}

bool Bulk::take(std::string_view line, ProgressBar& progress) {
  bool plain = false;
  auto order = parse_order(line, flags_, plain);
  if (order.ok() && plain) {
    waiting_.push_back({report_.lines, std::move(order->payload)});
    return waiting_.size() < kTogether || flush(progress);
  }
  // What stands before it comes first.
  if (!flush(progress)) return false;
  return order.ok() ? hand_in(*order, progress) : refuse(report_.lines, order.error(), progress);
}

BulkReport Bulk::run(std::istream& in, ProgressBar& progress) {
  const std::int64_t started_ns = base::monotonic_ns();
  std::uint64_t bytes = 0;
  std::string line;
  bool going = true;
  while (going && std::getline(in, line)) {
    ++report_.lines;
    bytes += line.size() + 1;
    if (!is_blank(line)) going = take(line, progress);
    progress.show(bytes, [&] {
      const auto spent_ns = std::max<std::int64_t>(base::monotonic_ns() - started_ns, 1);
      const double rate = static_cast<double>(report_.enqueued) * 1e9 / static_cast<double>(spent_ns);
      return fmt::format("{} tasks, {}/s", base::human_count(report_.enqueued),
                         base::human_count(static_cast<std::uint64_t>(rate)));
    });
  }
  const bool flushed = flush(progress);
  report_.stopped = !going || !flushed;
  return report_;
}

}  // namespace stem::cli
