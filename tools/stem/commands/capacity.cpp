// How many workers a load needs: rate × mean duration ÷ target utilisation × 1.25, rounded up.
#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/units.hpp"
#include "tools/stem/commands/commands.hpp"
#include "tools/stem/json_output.hpp"

namespace stem::cli {
namespace {

// A quarter in hand for peaks and for a worker that is being restarted.
constexpr double kHeadroom = 1.25;
constexpr double kMostWorkers = 1e9;  // above it the question is wrong, not the answer

struct CapacityOptions {
  base::Rate rate;
  std::int64_t duration_ns = 0;
  double utilisation = 0.7;
  std::optional<std::uint64_t> backlog;
};

struct Capacity {
  double workers = 1;
  double busy_workers = 0;  // on average
  double utilisation = 0;   // of `workers`
  double per_second = 0;    // what `workers` can do
  double drain_ns = 0;      // while new tasks keep coming
};

Capacity capacity_for(const CapacityOptions& options) {
  const double duration_s = static_cast<double>(options.duration_ns) * 1e-9;
  const double rate = options.rate.per_second();
  Capacity capacity;
  capacity.busy_workers = rate * duration_s;
  const double exact = capacity.busy_workers / options.utilisation * kHeadroom;
  // Without the margin 0.1 × 30 would be rounded up to a fourth worker.
  capacity.workers = std::max(1.0, std::ceil(exact * (1 - 1e-12)));
  capacity.utilisation = capacity.busy_workers / capacity.workers;
  capacity.per_second = capacity.workers / duration_s;
  if (options.backlog) {
    capacity.drain_ns = static_cast<double>(*options.backlog) / (capacity.per_second - rate) * 1e9;
  }
  return capacity;
}

bool fits_duration(double ns) {
  return ns < static_cast<double>(std::numeric_limits<std::int64_t>::max());
}

void print_for_programs(const CapacityOptions& options, const Capacity& capacity) {
  nlohmann::ordered_json document{{"workers", static_cast<std::uint64_t>(capacity.workers)},
                                  {"ratePerSecond", options.rate.per_second()},
                                  {"meanDurationNs", options.duration_ns},
                                  {"targetUtilisation", options.utilisation},
                                  {"busyWorkers", capacity.busy_workers},
                                  {"utilisation", capacity.utilisation},
                                  {"capacityPerSecond", capacity.per_second}};
  if (options.backlog) {
    document["backlog"] = *options.backlog;
    document["drainNs"] = nullptr;
    if (fits_duration(capacity.drain_ns)) {
      document["drainNs"] = static_cast<std::int64_t>(capacity.drain_ns);
    }
  }
  print_json(document);
}

void print_for_people(const CapacityOptions& options, const Capacity& capacity,
                      const Style& style) {
  const auto line = [](std::string_view name, std::string_view text) {
    fmt::print("{:<12} {}\n", name, text);
  };
  line("workers", style.paint(Tone::kBold, fmt::format("{:.0f}", capacity.workers)));
  line("busy",
       fmt::format("{:.2f} on average ({} × {})", capacity.busy_workers,
                   base::write_rate(options.rate), base::human_duration(options.duration_ns)));
  line("utilisation", fmt::format("{:.0f} % (target {:.0f} %, and a quarter in hand)",
                                  capacity.utilisation * 100, options.utilisation * 100));
  line("capacity", fmt::format("{:.6g}/s", capacity.per_second));
  if (!options.backlog) return;
  const std::string time = fits_duration(capacity.drain_ns)
                               ? base::human_duration(static_cast<std::int64_t>(capacity.drain_ns))
                               : "more than 292 years";
  line("backlog", fmt::format("{} drained in {}, while new tasks keep coming",
                              base::human_count(*options.backlog), time));
}

int print_capacity(const CapacityOptions& options, const Context& context) {
  if (options.duration_ns == 0) {
    print_error("capacity: --duration: tasks that take no time need no workers");
    return kExitUsage;
  }
  const Capacity capacity = capacity_for(options);
  if (capacity.workers > kMostWorkers) {
    print_error(fmt::format("capacity: {} × {} would take {:.1e} workers",
                            base::write_rate(options.rate),
                            base::human_duration(options.duration_ns), capacity.workers));
    return kExitUsage;
  }
  if (context.json) {
    print_for_programs(options, capacity);
  } else {
    print_for_people(options, capacity, context.style);
  }
  return kExitOk;
}

Run build_capacity(CommandLine& line) {
  auto options = std::make_shared<CapacityOptions>();
  line.rate("--rate", &options->rate, "tasks that arrive, as 2000/s, 90/m or 10/h").required();
  line.duration_ns("--duration", &options->duration_ns, "mean time that a task runs").required();
  line.share("--utilisation", &options->utilisation,
             "how busy workers shall be, as 0.7 or 70% (default 0.7)");
  line.count("--backlog", &options->backlog, "tasks that already wait; says when they are done");
  return [options](const Context& context) { return print_capacity(*options, context); };
}

}  // namespace

std::vector<Command> capacity_commands() {
  return {{.path = "capacity",
           .group = Group::kHost,
           .help = "How many workers a load needs, and how long a backlog takes",
           .details = "Workers = rate × mean duration ÷ target utilisation × 1.25, rounded up.",
           .examples = {{"stem capacity --rate 2000/s --duration 5ms", ""},
                        {"stem capacity --rate 90/m --duration 1.5s --utilisation 60%", ""},
                        {"stem capacity --rate 2000/s --duration 5ms --backlog 100000",
                         "and the time to drain it"}},
           .traits = kReads,
           .build = build_capacity}};
}

}  // namespace stem::cli
