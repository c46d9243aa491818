// `stem queue pause|resume|purge|set`.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "base/units.hpp"
#include "engine/control.hpp"
#include "engine/dead_letters.hpp"
#include "engine/limiter.hpp"
#include "shm/names.hpp"
#include "tools/stem/attachment.hpp"
#include "tools/stem/commands/engine_commands.hpp"
#include "tools/stem/consent.hpp"
#include "tools/stem/json_output.hpp"
#include "tools/stem/observe/look.hpp"

namespace stem::cli {
namespace {

using nlohmann::ordered_json;

constexpr std::string_view kDurabilityNames[] = {"memory", "journal", "sync"};
constexpr std::string_view kOverflowNames[] = {"reject", "block", "drop-oldest"};

Result<std::vector<std::uint32_t>> queues_named(const shm::Segment& segment, const std::vector<std::string>& names) {
  std::vector<std::uint32_t> ids;
  for (const std::string& name : names) {
    const auto id = queue_named(segment, name);
    if (!id.ok()) return id.error();
    ids.push_back(*id);
  }
  return ids;
}

// Tasks of a queue that have not started.
struct NotStarted {
  std::uint64_t ready = 0, delayed = 0;
};

NotStarted count_not_started(const shm::Segment& segment, std::uint32_t queue) {
  NotStarted count;
  const auto used = segment.slots_used();
  for (std::uint32_t slot = 0; slot < used; ++slot) {
    const shm::Descriptor& d = segment.descriptor(slot);
    switch (d.control.load().state()) {
      case shm::State::kReady:
      case shm::State::kWaiting: count.ready += d.queue == queue ? 1 : 0; break;
      case shm::State::kDelayed: count.delayed += d.queue == queue ? 1 : 0; break;
      default: break;
    }
  }
  return count;
}

// ---- pause, resume

using Names = std::vector<std::string>;

int pause_queues(const Names& names, bool paused, const Context& context) {
  const std::string_view command = paused ? "queue pause" : "queue resume";
  const auto attached = Attachment::open(context);
  if (!attached.ok()) return fail(command, attached.error());
  const auto ids = queues_named(attached->segment(), names);
  if (!ids.ok()) return fail(command, ids.error());
  engine::Control control(attached->engine());
  ordered_json rows = ordered_json::array();
  for (const std::uint32_t id : *ids) {
    const bool was = attached->segment().queue(id).paused.load(std::memory_order_relaxed) != 0;
    paused ? control.pause(id, base::monotonic_ns()) : control.resume(id, base::monotonic_ns());
    const std::string name(shm::queue_name(attached->segment(), id));
    rows.push_back({{"queue", name}, {"paused", paused}, {"changed", was != paused}});
    if (!context.json) {
      fmt::print("{} {}{}\n", printable(name), paused ? "paused" : "resumed", was == paused ? " (it was already)" : "");
    }
  }
  if (context.json) print_json(rows);
  return kExitOk;
}

template <bool kPaused>
Run build_pause(CommandLine& line) {
  auto names = std::make_shared<Names>();
  line.arguments("QUEUE", names.get(), "names of queues").required();
  return [names](const Context& context) { return pause_queues(*names, kPaused, context); };
}

// ---- purge

int purge_queue(const std::string& name, const Context& context) {
  const auto attached = Attachment::open(context);
  if (!attached.ok()) return fail("queue purge", attached.error());
  const auto id = queue_named(attached->segment(), name);
  if (!id.ok()) return fail("queue purge", id.error());
  const NotStarted count = count_not_started(attached->segment(), *id);
  const auto answer = [&](std::uint64_t cancelled) {
    if (context.json) {
      print_json({{"queue", name},
                  {"dryRun", context.dry_run},
                  {"ready", count.ready},
                  {"delayed", count.delayed},
                  {"cancelled", cancelled}});
    }
  };
  if (context.json && context.dry_run) answer(0);
  switch (ask_consent(
      context, fmt::format("cancel {} ready and {} delayed tasks of queue {}", count.ready, count.delayed, name))) {
    case Consent::kDryRun: return kExitOk;
    case Consent::kRefused: return kExitUsage;
    case Consent::kGiven: break;
  }
  const std::uint64_t cancelled = engine::Control(attached->engine()).purge(*id, base::monotonic_ns());
  answer(cancelled);
  if (!context.json) {
    fmt::print("cancelled {} task{} of {}\n", cancelled, cancelled == 1 ? "" : "s", printable(name));
  }
  return kExitOk;
}

Run build_purge(CommandLine& line) {
  auto name = std::make_shared<std::string>();
  line.argument("QUEUE", name.get(), "the queue's name").required();
  return [name](const Context& context) { return purge_queue(*name, context); };
}

// ---- set

struct SetOptions {
  std::string queue;
  bool create = false;
  std::optional<engine::Rate> rate;
  std::optional<std::uint32_t> max_length, concurrency, dlq_max;
  std::optional<std::int64_t> dlq_retention_ns;
  std::optional<std::string> overflow, lowest_first, durability;

  [[nodiscard]] bool empty() const {
    return !rate && !max_length && !concurrency && !dlq_max && !dlq_retention_ns && !overflow && !lowest_first &&
           !durability;
  }
};

Result<engine::Rate> parse_rate_or_none(std::string_view text) {
  if (text == "none") return engine::Rate{};
  const auto rate = base::parse_rate(text);
  if (!rate.ok()) return Error{Errc::kInvalidArgument, rate.error().message + ", or none"};
  if (rate->count > std::numeric_limits<std::uint32_t>::max()) {
    return Error{Errc::kInvalidArgument,
                 fmt::format("'{}' is more than {}/s", text, std::numeric_limits<std::uint32_t>::max())};
  }
  return engine::Rate{static_cast<std::uint32_t>(rate->count),
                      static_cast<std::uint32_t>(rate->period_ns / engine::kSecondNs)};
}

Result<std::uint32_t> parse_count_or_none(std::string_view text) {
  if (text == "none") return 0U;
  const auto count = base::parse_count(text);
  if (!count.ok()) return Error{Errc::kInvalidArgument, count.error().message + ", or none"};
  if (*count > std::numeric_limits<std::uint32_t>::max()) {
    return Error{Errc::kInvalidArgument,
                 fmt::format("'{}' is more than {}", text, std::numeric_limits<std::uint32_t>::max())};
  }
  return static_cast<std::uint32_t>(*count);
}

ordered_json none_if_zero(std::uint64_t value) { return value == 0 ? ordered_json(nullptr) : ordered_json(value); }

void print_settings(const shm::Segment& segment, std::uint32_t id, const Context& context) {
  const shm::QueueRow& row = segment.queue(id);
  const auto now = [](const auto& word) { return word.load(std::memory_order_acquire); };
  const engine::Rate rate = engine::unpack_rate(now(row.rate));
  const std::uint32_t overflow = now(row.overflow);
  const std::string_view overflow_name = overflow < std::size(kOverflowNames) ? kOverflowNames[overflow] : "unknown";
  const std::int64_t retention =
      now(row.dead_retention_ns) > 0 ? now(row.dead_retention_ns) : engine::kDefaultDeadRetentionNs;
  const std::uint32_t durability = now(row.durability);
  const std::string_view durability_name =
      durability < std::size(kDurabilityNames) ? kDurabilityNames[durability] : "unknown";
  if (context.json) {
    ordered_json document{{"queue", shm::queue_name(segment, id)},
                          {"paused", now(row.paused) != 0},
                          {"rate", nullptr},
                          {"concurrency", none_if_zero(now(row.concurrency))},
                          {"maxLength", none_if_zero(now(row.max_length))},
                          {"overflow", overflow_name},
                          {"lowestFirst", now(row.lowest_first) != 0},
                          {"dlqRetentionNs", retention},
                          {"dlqMax", none_if_zero(now(row.dead_max))},
                          {"durability", durability_name}};
    if (rate) document["rate"] = limit_text(rate);
    print_json(document);
    return;
  }
  const auto line = [](std::string_view name, std::string_view text) { fmt::print("{:<14} {}\n", name, text); };
  const auto count = [](std::uint32_t value) { return value == 0 ? std::string("none") : fmt::format("{}", value); };
  line("queue", context.style.paint(Tone::kBold, printable(shm::queue_name(segment, id))));
  line("paused", now(row.paused) != 0 ? "yes" : "no");
  line("rate", rate ? limit_text(rate) : "none");
  line("concurrency", count(now(row.concurrency)));
  line("max length", count(now(row.max_length)));
  line("overflow", overflow_name);
  line("priorities", now(row.lowest_first) != 0 ? "lowest first" : "highest first");
  line("dlq retention", base::human_duration(retention));
  line("dlq max", count(now(row.dead_max)));
  line("durability", durability_name);
}

engine::Control::Limits limits_of(const SetOptions& options) {
  engine::Control::Limits limits;
  if (options.max_length) limits.max_length = *options.max_length;
  if (options.concurrency) limits.concurrency = *options.concurrency;
  if (options.rate) {
    limits.set_rate = true;
    limits.rate = *options.rate;
  }
  if (options.overflow) {
    const auto* it = std::find(std::begin(kOverflowNames), std::end(kOverflowNames), *options.overflow);
    limits.overflow = static_cast<int>(it - std::begin(kOverflowNames));
  }
  if (options.lowest_first) limits.lowest_first = *options.lowest_first == "on" ? 1 : 0;
  if (options.dlq_max) limits.dead_max = *options.dlq_max;
  if (options.dlq_retention_ns) limits.dead_retention_ns = *options.dlq_retention_ns;
  return limits;
}

int set_queue(const SetOptions& options, const Context& context) {
  const auto attached = Attachment::open(context);
  if (!attached.ok()) return fail("queue set", attached.error());
  auto id = queue_named(attached->segment(), options.queue);
  if (!id.ok() && id.error().code == Errc::kNotFound && options.create) {
    id = shm::intern_queue(attached->segment(), options.queue);
  }
  if (!id.ok()) {
    Error error = id.error();
    if (error.code == Errc::kNotFound) error.message += "; --create makes it";
    return fail("queue set", error);
  }
  if (!options.empty()) engine::Control(attached->engine()).set_limits(*id, limits_of(options));
  if (options.durability) {
    const auto* it = std::find(std::begin(kDurabilityNames), std::end(kDurabilityNames), *options.durability);
    const auto wanted = static_cast<shm::Durability>(it - std::begin(kDurabilityNames));
    if (!engine::Control(attached->engine()).set_durability(*id, wanted))
      return fail("queue set", {Errc::kNoMemory, "no room in /dev/shm for the journal's hints"});
  }
  print_settings(attached->segment(), *id, context);
  return kExitOk;
}

Run build_set(CommandLine& line) {
  auto o = std::make_shared<SetOptions>();
  line.argument("QUEUE", &o->queue, "the queue's name").required();
  line.parsed<engine::Rate>("--rate", &o->rate, parse_rate_or_none,
                            "starts of tasks, as 100/s, 90/m or 10/h; none lifts it")
      .named("RATE");
  line.parsed<std::uint32_t>("--concurrency", &o->concurrency, parse_count_or_none,
                             "tasks that run at once; none lifts it")
      .named("N");
  line.parsed<std::uint32_t>("--max-length", &o->max_length, parse_count_or_none, "tasks that may wait; none lifts it")
      .named("N");
  line.choice("--overflow", &o->overflow, {"reject", "block", "drop-oldest"}, "what a full queue does with one more");
  line.choice("--lowest-first", &o->lowest_first, {"on", "off"},
              "priority 0 first, for callers who number the other way");
  line.duration_ns("--dlq-retention", &o->dlq_retention_ns, "how long dead letters are kept; 0 is the default, 7d");
  line.parsed<std::uint32_t>("--dlq-max", &o->dlq_max, parse_count_or_none, "dead letters that are kept; none lifts it")
      .named("N");
  line.choice("--durability", &o->durability, {"memory", "journal", "sync"},
              "what its tasks survive: every process, the host, or the host from the moment enqueue returns");
  line.flag("--create", &o->create, "also if the queue was never used");
  return [o](const Context& context) { return set_queue(*o, context); };
}

}  // namespace

std::vector<Command> queue_commands() {
  return {{.path = "queue pause",
           .group = Group::kTasks,
           .help = "Start no more tasks of a queue",
           .details = "What runs goes on; enqueueing goes on.",
           .examples = {{"stem queue pause mail", ""}},
           .traits = kReads,
           .build = build_pause<true>},
          {.path = "queue resume",
           .group = Group::kTasks,
           .help = "Start tasks of a queue again",
           .examples = {{"stem queue resume mail", ""}},
           .traits = kReads,
           .build = build_pause<false>},
          {.path = "queue purge",
           .group = Group::kTasks,
           .help = "Cancel every task of a queue that has not started",
           .examples = {{"stem queue purge mail --dry-run", ""}, {"stem queue purge mail --yes", ""}},
           .traits = kReads | kDestroys,
           .build = build_purge},
          {.path = "queue set",
           .group = Group::kTasks,
           .help = "Limits of a queue; without a flag it shows them",
           .examples = {{"stem queue set mail --rate 100/s --max-length 10000 --overflow block", ""},
                        {"stem queue set mail --rate none", ""}},
           .traits = kReads,
           .build = build_set}};
}

}  // namespace stem::cli
