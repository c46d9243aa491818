// stem-bench memory: bytes behind each queued task, and how long attaching takes.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/clock.hpp"
#include "bench/command.hpp"
#include "bench/failure.hpp"
#include "bench/scene.hpp"

namespace stem::bench {

namespace {

struct Options {
  std::uint64_t attaches = 300;
};

constexpr std::uint32_t kCounts[] = {10'000, 100'000, 1'000'000};
constexpr std::uint32_t kBatches[] = {1, 64};
constexpr std::uint32_t kPayloadBytes = 64;

struct Use {
  double before_bytes = 0;  // an empty segment with one participant
  double after_bytes = 0;
};

Use memory_of(CpuPair cpus, std::uint32_t count, std::uint32_t batch) {
  shm::SegmentOptions options;
  options.slot_count = std::max(count + count / 16, 1u << 20);
  Scene scene(options);
  Shared<Use> use;
  run_processes({{cpus.first, [&] {
                    Seat seat(scene, shm::Role::kClient, "producer");
                    use->before_bytes = static_cast<double>(seat.segment().used_bytes());
                    const std::byte payload[kPayloadBytes] = {};
                    std::vector<engine::TaskSpec> specs(batch);
                    for (engine::TaskSpec& spec : specs) {
                      spec.queue = seat.queue();
                      spec.task = seat.task();
                      spec.payload = payload;
                    }
                    for (std::uint32_t sent = 0; sent < count;) {
                      std::size_t done = 0;
                      const std::size_t n = std::min(batch, count - sent);
                      const auto status =
                          seat.engine().enqueue_many(specs.data(), n, nullptr, done, base::monotonic_ns());
                      if (status != engine::EnqueueStatus::kOk)
                        throw Failure(fmt::format("enqueue said {}", engine::to_string(status)));
                      sent += static_cast<std::uint32_t>(done);
                    }
                    use->after_bytes = static_cast<double>(seat.segment().used_bytes());
                  }}});
  return *use;
}

// Map the segment, take a row, make an engine: what a program pays before its first enqueue.
Percentiles attach_times(CpuPair cpus, std::uint64_t attaches) {
  const Scene scene;
  SharedMemory memory(attaches * sizeof(std::uint64_t));
  const std::span<std::uint64_t> ticks(static_cast<std::uint64_t*>(memory.data()), attaches);
  run_processes({{cpus.first, [&] {
                    const Seat first(scene, shm::Role::kClient, "first");  // somebody is there already
                    for (std::uint64_t& one : ticks) {
                      const std::uint64_t start = ticks_now();
                      const Seat seat(scene, shm::Role::kClient, "attacher");
                      one = ticks_now() - start;
                    }
                  }}});
  return percentiles_of_ticks(ticks);
}

void run(Session& session, const Options& options) {
  Report& report = session.report;
  Table table{"memory",
              "Memory behind a queued task of 64 bytes, all included",
              {{"tasks", "queued", Unit::kCount},
               {"bytes_per_task", "per task", Unit::kBytes},
               {"with_empty_segment", "with the empty segment", Unit::kBytes},
               {"empty_bytes", "empty segment", Unit::kBytes}},
              {}};
  Plot plot;
  plot.title = "Memory of a queued task of 64 bytes, all included";
  plot.subtitle = fmt::format("{} · {}", report.command_line, report.machine.front().value);
  plot.value_label = "bytes per task";
  plot.value_unit = Unit::kBytes;
  for (const std::uint32_t batch : kBatches) {
    for (const std::uint32_t count : kCounts) {
      const Use use = memory_of(session.cpus, count, batch);
      const double each = (use.after_bytes - use.before_bytes) / count;
      const std::string how = batch == 1 ? "one at a time" : fmt::format("by {}", batch);
      const std::string label = fmt::format("{}, {}", format_value(count, Unit::kCount), how);
      table.rows.push_back({fmt::format("tasks_{}_by_{}", count, batch),
                            how,
                            {static_cast<double>(count), each, use.after_bytes / count, use.before_bytes}});
      plot.bars.push_back({label, {each, each, each, 1}, true});
    }
  }
  std::vector<Percentiles> times;
  for (int run = 0; run < session.runs; ++run) times.push_back(attach_times(session.cpus, options.attaches));
  Table attach{"attach", "Attach to a segment, take a place, be ready to enqueue", percentile_columns(), {}};
  attach.rows.push_back({"attach", "attach and join", percentile_cells(spread_of(std::span(times)))});
  report.tables = {std::move(table), std::move(attach)};
  report.notes.push_back(
      "Memory is what the file system has behind the segment's file (blocks, not size): descriptors, rings, "
      "blocks, counters and all. It does not depend on the machine's speed: its floor is the 64 bytes themselves.");
  report.plot = std::move(plot);
}

}  // namespace

CommandBody declare_memory(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("--attaches", options->attaches, "attaches of each run")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  return [options](Session& session) { run(session, *options); };
}

}  // namespace stem::bench
