// stem-bench payload: from 16 bytes to 1 MiB, copied in or written in place.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "bench/command.hpp"
#include "bench/life_cycle.hpp"

namespace stem::bench {

namespace {

struct Options {
  std::uint64_t most_tasks = 1'000'000;
};

constexpr std::uint32_t kSizes[] = {16, 64, 256, 1024, 4096, 16'384, 65'536, 262'144, 1'048'576};
constexpr std::uint64_t kQueuedBytes = 32u << 20;  // at most this much waits, and memcpy goes round as much
constexpr std::uint64_t kBytesOfRun = 2ull << 30;

std::uint32_t depth_for(std::uint32_t bytes) {
  return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(kQueuedBytes / bytes, 16, 30'000));
}

// One process copies blocks of this size into a buffer as large as what the queue may hold.
double memcpy_bytes_per_s(CpuPair cpus, std::uint32_t bytes) {
  Shared<double> rate;
  run_processes({{cpus.first, [&] {
                    const std::uint64_t blocks = depth_for(bytes);
                    std::vector<char> from(bytes, 1), to(blocks * bytes);
                    const std::uint64_t copies = std::clamp<std::uint64_t>((512u << 20) / bytes, 64, 8u << 20);
                    std::uint64_t start = 0;
                    for (std::uint64_t i = 0; i < copies + blocks; ++i) {
                      if (i == blocks) start = ticks_now();  // the first round met untouched pages
                      std::memcpy(to.data() + i % blocks * bytes, from.data(), bytes);
                      asm volatile("" : : "r"(to.data()) : "memory");
                    }
                    const double seconds = static_cast<double>(ticks_now() - start) * ns_per_tick() * 1e-9;
                    *rate = static_cast<double>(copies) * bytes / seconds;
                  }}});
  return *rate;
}

struct Series {
  std::vector<double> rate, bytes_per_s, ratio;
};

void run(Session& session, const Options& options) {
  Series copied[std::size(kSizes)], in_place[std::size(kSizes)];
  std::vector<double> floors[std::size(kSizes)];
  for (int run = 0; run < session.runs; ++run) {
    for (std::size_t i = 0; i < std::size(kSizes); ++i) {
      const double floor = memcpy_bytes_per_s(session.cpus, kSizes[i]);
      floors[i].push_back(floor);
      for (const bool loan : {false, true}) {
        LifeCycle life;
        life.payload_bytes = kSizes[i];
        life.depth = depth_for(kSizes[i]);
        life.tasks = std::clamp<std::uint64_t>(kBytesOfRun / kSizes[i], 2'000, options.most_tasks);
        life.prefetch = 16;
        life.in_place = loan;
        const Measured rate = undisturbed([&] { return life_cycle_rate(session.cpus, life); });
        Series& series = loan ? in_place[i] : copied[i];
        series.rate.push_back(rate.steady);
        series.bytes_per_s.push_back(rate.steady * kSizes[i]);
        series.ratio.push_back(rate.steady * kSizes[i] / floor);
      }
      session.progress(fmt::format("run {}/{}: {}: {}", run + 1, session.runs, format_value(kSizes[i], Unit::kBytes),
                                   format_value(copied[i].rate.back(), Unit::kPerSecond)));
    }
  }
  Report& report = session.report;
  const std::vector<Column> columns = {{"tasks_per_s", "tasks", Unit::kPerSecond},
                                       {"bytes_per_s", "bytes a second", Unit::kBytes},
                                       {"memcpy_bytes_per_s", "memcpy", Unit::kBytes},
                                       {"ratio", "÷ memcpy", Unit::kRatio}};
  Table table{"payload", "Copied in by enqueue, every byte read by the handler", columns, {}};
  Table loans{"in_place", "Written in place (loan and publish), not read", columns, {}};
  Plot plot;
  plot.title = "Tasks per second by payload size";
  plot.subtitle = fmt::format("{} · {}", report.command_line, report.machine.front().value);
  plot.value_label = "tasks per second, steady";
  plot.value_unit = Unit::kPerSecond;
  plot.log_value = true;
  plot.x_label = "payload";
  plot.x_unit = Unit::kBytes;
  plot.log_x = true;
  plot.lines = {{"copied in, read", {}}, {"in place", {}}};
  for (std::size_t i = 0; i < std::size(kSizes); ++i) {
    const std::string key = fmt::format("bytes_{}", kSizes[i]);
    const std::string label = format_value(kSizes[i], Unit::kBytes);
    const auto cells = [&](const Series& series) {
      return std::vector<Cell>{spread_of(series.rate).median, spread_of(series.bytes_per_s).median,
                               spread_of(floors[i]).median, spread_of(series.ratio).median};
    };
    table.rows.push_back({key, label, cells(copied[i])});
    loans.rows.push_back({key, label, cells(in_place[i])});
    plot.lines[0].points.push_back({static_cast<double>(kSizes[i]), spread_of(copied[i].rate).median});
    plot.lines[1].points.push_back({static_cast<double>(kSizes[i]), spread_of(in_place[i].rate).median});
  }
  report.tables = {std::move(table), std::move(loans)};
  report.notes.push_back(
      "memcpy: one core copying blocks of the same size into a buffer as large as what may be queued (32 MB, "
      "or 30,000 payloads). In the queue one core copies and the other reads.");
  report.plot = std::move(plot);
}

}  // namespace

CommandBody declare_payload(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("--tasks", options->most_tasks, "tasks of each run at most; fewer of the large ones")
      ->check(CLI::Range(std::uint64_t{10'000}, std::uint64_t{1} << 32))
      ->capture_default_str();
  return [options](Session& session) { run(session, *options); };
}

}  // namespace stem::bench
