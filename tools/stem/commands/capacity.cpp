// How many workers a load needs: rate × mean duration ÷ target utilisation × 1.25, rounded up.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/units.hpp"
#include "tools/stem/commands/commands.hpp"
#include "tools/stem/interrupts.hpp"
#include "tools/stem/json_output.hpp"
#include "tools/stem/observe/look.hpp"

namespace stem::cli {
namespace {

// A quarter in hand for peaks and for a worker that is being restarted.
constexpr double kHeadroom = 1.25;
constexpr double kMostWorkers = 1e9;  // above it the question is wrong, not the answer

struct CapacityOptions {
  std::optional<base::Rate> rate;
  std::optional<std::int64_t> duration_ns;
  double utilisation = 0.7;
  std::optional<std::uint64_t> backlog;
  // Of what is measured:
  std::vector<std::string> queues;  // none = all
  std::int64_t over_ns = 2'000'000'000;

  [[nodiscard]] bool measures() const { return !rate || !duration_ns; }
};

// What the workers are for: as given, or as measured.
struct Load {
  double per_second = 0;
  double duration_ns = 0;
  double utilisation = 0;
  std::optional<std::uint64_t> backlog;
  std::string rate_text, duration_text;
};

struct Capacity {
  double workers = 1;
  double busy_workers = 0;  // on average
  double utilisation = 0;   // of `workers`
  double per_second = 0;    // what `workers` can do
  double drain_ns = 0;      // while new tasks keep coming
};

Capacity capacity_for(const Load& load) {
  const double duration_s = load.duration_ns * 1e-9;
  Capacity capacity;
  capacity.busy_workers = load.per_second * duration_s;
  const double exact = capacity.busy_workers / load.utilisation * kHeadroom;
  // Without the margin 0.1 × 30 would be rounded up to a fourth worker.
  capacity.workers = std::max(1.0, std::ceil(exact * (1 - 1e-12)));
  capacity.utilisation = capacity.busy_workers / capacity.workers;
  capacity.per_second = capacity.workers / duration_s;
  if (load.backlog) {
    capacity.drain_ns = static_cast<double>(*load.backlog) / (capacity.per_second - load.per_second) * 1e9;
  }
  return capacity;
}

// ---- live figures

// Of the attempts that ended between the looks; of all there ever were when none did. 0 = there were none.
double mean_duration_ns(const Look& before, const Look& now) {
  double sum = 0, ever_sum = 0;
  std::uint64_t count = 0, ever_count = 0;
  for (std::size_t i = 0; i < now.tasks.size(); ++i) {
    const base::HistogramSummary& d = now.tasks[i].duration;
    const base::HistogramSummary was = i < before.tasks.size() ? before.tasks[i].duration : base::HistogramSummary{};
    const double all = d.mean_ns * static_cast<double>(d.count);
    ever_sum += all;
    ever_count += d.count;
    if (d.count <= was.count) continue;
    sum += all - was.mean_ns * static_cast<double>(was.count);
    count += d.count - was.count;
  }
  if (count > 0 && sum > 0) return sum / static_cast<double>(count);
  return ever_count == 0 ? 0 : ever_sum / static_cast<double>(ever_count);
}

bool wanted(const CapacityOptions& options, const std::string& queue) {
  return options.queues.empty() ||
         std::find(options.queues.begin(), options.queues.end(), queue) != options.queues.end();
}

// Fills in what was not given.
Result<void> measure(const CapacityOptions& options, const Context& context, Load& load) {
  const auto attached = Attachment::watch(context);
  if (!attached.ok()) return attached.error();
  for (const std::string& name : options.queues)
    if (const auto id = queue_named(attached->segment(), name); !id.ok()) return id.error();
  const Look before = take_look(*attached, kQueuePart | kTaskPart);
  Interrupts interrupts;
  if (interrupts.wait_ns(options.over_ns)) return Error{Errc::kTimeout, "interrupted"};
  const Look now = take_look(*attached, kQueuePart | kTaskPart);
  double arrivals = 0;
  std::uint64_t waiting = 0;
  for (const QueueFigures& q : queue_figures(before, now)) {
    if (!wanted(options, q.name)) continue;
    arrivals += q.rate_in;
    waiting += q.ready;
  }
  if (!options.rate) {
    load.per_second = arrivals;
    load.rate_text = fmt::format("{}/s as measured for {}", rate_text(arrivals), base::human_duration(options.over_ns));
  }
  if (!options.backlog) load.backlog = waiting;
  if (options.duration_ns) return {};
  load.duration_ns = mean_duration_ns(before, now);
  load.duration_text = fmt::format("{} as measured", base::human_duration(static_cast<std::int64_t>(load.duration_ns)));
  if (load.duration_ns <= 0)
    return Error{Errc::kRefused, "no task has run here yet; say how long one takes: --duration 5ms"};
  return {};
}

bool fits_duration(double ns) { return ns < static_cast<double>(std::numeric_limits<std::int64_t>::max()); }

void print_for_programs(const CapacityOptions& options, const Load& load, const Capacity& capacity) {
  nlohmann::ordered_json document{{"workers", static_cast<std::uint64_t>(capacity.workers)},
                                  {"ratePerSecond", load.per_second},
                                  {"meanDurationNs", static_cast<std::int64_t>(load.duration_ns)},
                                  {"rateMeasured", !options.rate},
                                  {"durationMeasured", !options.duration_ns},
                                  {"targetUtilisation", load.utilisation},
                                  {"busyWorkers", capacity.busy_workers},
                                  {"utilisation", capacity.utilisation},
                                  {"capacityPerSecond", capacity.per_second}};
  if (load.backlog) {
    document["backlog"] = *load.backlog;
    document["drainNs"] = nullptr;
    if (fits_duration(capacity.drain_ns)) {
      document["drainNs"] = static_cast<std::int64_t>(capacity.drain_ns);
    }
  }
  print_json(document);
}

void print_for_people(const Load& load, const Capacity& capacity, const Style& style) {
  const auto line = [](std::string_view name, std::string_view text) { fmt::print("{:<12} {}\n", name, text); };
  line("workers", style.paint(Tone::kBold, fmt::format("{:.0f}", capacity.workers)));
  line("busy", fmt::format("{:.2f} on average ({} × {})", capacity.busy_workers, load.rate_text, load.duration_text));
  line("utilisation", fmt::format("{:.0f} % (target {:.0f} %, and a quarter in hand)", capacity.utilisation * 100,
                                  load.utilisation * 100));
  line("capacity", fmt::format("{:.6g}/s", capacity.per_second));
  if (!load.backlog) return;
  const std::string time = fits_duration(capacity.drain_ns)
                               ? base::human_duration(static_cast<std::int64_t>(capacity.drain_ns))
                               : "more than 292 years";
  line("backlog", fmt::format("{} drained in {}, while new tasks keep coming", base::human_count(*load.backlog), time));
}

int print_capacity(const CapacityOptions& options, const Context& context) {
  if (options.duration_ns == 0) {
    return fail("capacity", {Errc::kInvalidArgument, "--duration: tasks that take no time need no workers"});
  }
  if (!options.measures() && !options.queues.empty()) {
    return fail("capacity", {Errc::kInvalidArgument, "-q is for what is measured; leave out --rate or --duration"});
  }
  if (options.over_ns <= 0) return fail("capacity", {Errc::kInvalidArgument, "--over: must be above 0"});
  Load load{.utilisation = options.utilisation, .backlog = options.backlog, .rate_text = {}, .duration_text = {}};
  if (options.rate) {
    load.per_second = options.rate->per_second();
    load.rate_text = base::write_rate(*options.rate);
  }
  if (options.duration_ns) {
    load.duration_ns = static_cast<double>(*options.duration_ns);
    load.duration_text = base::human_duration(*options.duration_ns);
  }
  if (options.measures()) {
    if (auto good = measure(options, context, load); !good.ok()) return fail("capacity", good.error());
  }
  const Capacity capacity = capacity_for(load);
  if (capacity.workers > kMostWorkers) {
    return fail("capacity", {Errc::kInvalidArgument, fmt::format("{} × {} would take {:.1e} workers", load.rate_text,
                                                                 load.duration_text, capacity.workers)});
  }
  if (context.json) {
    print_for_programs(options, load, capacity);
  } else {
    print_for_people(load, capacity, context.style);
  }
  return kExitOk;
}

Run build_capacity(CommandLine& line) {
  auto options = std::make_shared<CapacityOptions>();
  line.rate("--rate", &options->rate, "tasks that arrive, as 2000/s, 90/m or 10/h (default: measured)");
  line.duration_ns("--duration", &options->duration_ns, "mean time that a task runs (default: measured)");
  line.share("--utilisation", &options->utilisation, "how busy workers shall be, as 0.7 or 70% (default 0.7)");
  line.count("--backlog", &options->backlog, "tasks that already wait; says when they are done");
  line.texts("-q,--queue", &options->queues, "measure arrivals of this queue alone").named("QUEUE");
  line.duration_ns("--over", &options->over_ns, "how long arrivals are measured (default 2s)");
  return [options](const Context& context) { return print_capacity(*options, context); };
}

}  // namespace

std::vector<Command> capacity_commands() {
  return {{.path = "capacity",
           .group = Group::kHost,
           .help = "How many workers a load needs, and how long a backlog takes",
           .details =
               "Workers = rate × mean duration ÷ target utilisation × 1.25, rounded up. What is not given "
               "is measured: arrivals and backlog of the queues, and how long tasks ran meanwhile (or ever, when "
               "none ended meanwhile).",
           .examples = {{"stem capacity", "for the load of this moment"},
                        {"stem capacity --rate 2000/s --duration 5ms", ""},
                        {"stem capacity --rate 90/m --duration 1.5s --utilisation 60%", ""},
                        {"stem capacity --rate 2000/s --duration 5ms --backlog 100000", "and the time to drain it"}},
           .traits = kReads,
           .build = build_capacity}};
}

}  // namespace stem::cli
