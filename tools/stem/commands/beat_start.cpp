// `stem beat start`: fires schedules, in the foreground.
#include <fmt/format.h>

#include <memory>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "base/units.hpp"
#include "beat/scheduler.hpp"
#include "tools/stem/attachment.hpp"
#include "tools/stem/commands/engine_commands.hpp"
#include "tools/stem/interrupts.hpp"
#include "tools/stem/schedule/scheduled_task.hpp"

namespace stem::cli {
namespace {

struct BeatFlags {
  std::int64_t tick_ns = 1'000'000'000;
  std::int64_t lock_ttl_ns = 5'000'000'000;
};

constexpr std::int64_t kShortestTickNs = 1'000'000;
constexpr std::int64_t kShortestTtlNs = 100'000'000;

Result<void> check(const BeatFlags& flags) {
  if (flags.tick_ns < kShortestTickNs || flags.tick_ns > 60'000'000'000)
    return Error{Errc::kInvalidArgument, "--tick: allowed: 1ms to 1m"};
  if (flags.lock_ttl_ns < kShortestTtlNs || flags.lock_ttl_ns > 3'600'000'000'000)
    return Error{Errc::kInvalidArgument, "--lock-ttl: allowed: 100ms to 1h"};
  return {};
}

void log_event(const beat::BeatEvent& event) {
  using Kind = beat::BeatEvent::Kind;
  const std::string& id = event.entry->id;
  const std::string planned = beat::write_utc(event.planned_ns);
  switch (event.kind) {
    case Kind::kFired:
      if (!log::enabled(log::Level::kInfo)) return;
      log::info("fired", {{"schedule", id},
                          {"task", event.entry->task},
                          {"id", event.task},
                          {"planned", planned},
                          {"drift", base::human_duration(event.drift_ns)}});
      return;
    case Kind::kSkipped:
      log::warn("missed and passed over", {{"schedule", id},
                                           {"ticks", event.count},
                                           {"misfire", beat::to_string(event.entry->misfire)},
                                           {"until", planned}});
      return;
    case Kind::kDeduplicated:
      log::info("not fired: a task of an earlier tick is still there",
                {{"schedule", id}, {"planned", planned}, {"id", event.task}});
      return;
    case Kind::kFailed:
      log::error("not fired", {{"schedule", id}, {"planned", planned}, {"error", event.message}});
      return;
    case Kind::kLost: log::info("fired by another", {{"schedule", id}, {"planned", planned}}); return;
  }
}

int run_beat(shm::Segment& segment, engine::Engine& engine, const BeatFlags& flags) {
  Interrupts interrupts;
  beat::ScheduleStore store(engine);
  if (auto good = store.prepare_table(); !good.ok()) return fail("beat start", good.error());
  beat::SegmentLock lock(engine, flags.lock_ttl_ns);
  ScheduledTaskMaker maker(segment);
  beat::Scheduler scheduler(store, lock, maker,
                            {.tick_ns = flags.tick_ns, .tell = log_event, .stopwatch_ns = base::monotonic_ns});
  log::info("beat ready", {{"namespace", segment.name_space()},
                           {"schedules", store.list().size()},
                           {"tick", base::write_duration(flags.tick_ns)},
                           {"lock_ttl", base::write_duration(flags.lock_ttl_ns)}});
  bool held = false;
  for (std::int64_t looked_ns = 0; !interrupts.came();) {
    const beat::Now now{base::monotonic_ns(), base::realtime_ns()};
    if (now.monotonic_ns - looked_ns > flags.tick_ns) {
      looked_ns = now.monotonic_ns;
      engine.self().beat();
      if (!engine.self().still_ours())
        return fail("beat start", {Errc::kRefused, "this process was taken for dead; start it again"});
      if (!is_named(segment)) return fail("beat start", {Errc::kNotFound, "the segment was destroyed"});
    }
    const std::int64_t next_ns = scheduler.step(now);
    if (scheduler.holding() != held) {
      held = scheduler.holding();
      log::info(held ? "holds the lock: fires schedules" : "has lost the lock: stands by", {{"token", lock.token()}});
    }
    (void)interrupts.wait_ns(std::max<std::int64_t>(next_ns - base::monotonic_ns(), 0));
  }
  lock.release();
  log::info("beat ended");
  return kExitOk;
}

int start_beat(const BeatFlags& flags, const Context& context) {
  if (auto good = check(flags); !good.ok()) return fail("beat start", good.error());
  const auto attached = Attachment::open_or_create(context, shm::Role::kBeat, "beat");
  if (!attached.ok()) return fail("beat start", attached.error());
  return run_beat(attached->segment(), attached->engine(), flags);
}

Run build_beat_start(CommandLine& line) {
  auto flags = std::make_shared<BeatFlags>();
  line.duration_ns("--tick", &flags->tick_ns, "how often to look for changed schedules, at least (default 1s)");
  line.duration_ns("--lock-ttl", &flags->lock_ttl_ns, "a holder silent for so long is replaced (default 5s)");
  return [flags](const Context& context) { return start_beat(*flags, context); };
}

}  // namespace

std::vector<Command> beat_commands() {
  return {{.path = "beat start",
           .group = Group::kRun,
           .help = "Fire schedules on time",
           .details = "Start as many as you like: one of them fires, the others stand by and take over at once when it "
                      "is gone, or after --lock-ttl when it is stuck. Every tick becomes one task, whoever is killed. "
                      "SIGTERM and SIGINT end it and let the lock go.",
           .examples = {{"stem beat start", ""}, {"stem beat start --lock-ttl 2s", "a stuck one is replaced sooner"}},
           .build = build_beat_start}};
}

}  // namespace stem::cli
