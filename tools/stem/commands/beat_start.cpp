// `stem beat start`: fires schedules, in the foreground.
#include <fmt/format.h>
#include <unistd.h>

#include <functional>
#include <memory>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "base/units.hpp"
#include "beat/scheduler.hpp"
#include "federation/redis_lock.hpp"
#include "federation/shared_board.hpp"
#include "tools/stem/attachment.hpp"
#include "tools/stem/commands/engine_commands.hpp"
#include "tools/stem/interrupts.hpp"
#include "tools/stem/schedule/scheduled_task.hpp"
#include "tools/stem/schedule/schedules.hpp"
#include "tools/stem/signing.hpp"

namespace stem::cli {
namespace {

struct BeatFlags {
  std::int64_t tick_ns = 1'000'000'000;
  std::int64_t lock_ttl_ns = 5'000'000'000;
  StoreFlags store;
  SigningFlags signing;
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

// Turns until a signal comes. `ahead_ns`: how far the clock that schedules go by is ahead of this host's.
int run_beat(const Attachment& attached, beat::Scheduler& scheduler, beat::BeatLock& lock, const BeatFlags& flags,
             const std::function<std::int64_t()>& ahead_ns) {
  Interrupts interrupts;
  shm::Segment& segment = attached.segment();
  engine::Engine& engine = attached.engine();
  bool held = false;
  for (std::int64_t looked_ns = 0; !interrupts.came();) {
    const beat::Now now{base::monotonic_ns(), base::realtime_ns() + ahead_ns()};
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

int beat_for_this_host(const Attachment& attached, const BeatFlags& flags) {
  beat::ScheduleStore store(attached.engine());
  beat::SegmentLock lock(attached.engine(), flags.lock_ttl_ns);
  ScheduledTaskMaker maker(attached.segment());
  beat::Scheduler scheduler(store, lock, maker,
                            {.tick_ns = flags.tick_ns, .tell = log_event, .stopwatch_ns = base::monotonic_ns});
  log::info("beat ready", {{"namespace", attached.segment().name_space()},
                           {"schedules", store.list().size()},
                           {"tick", base::write_duration(flags.tick_ns)},
                           {"lock_ttl", base::write_duration(flags.lock_ttl_ns)}});
  return run_beat(attached, scheduler, lock, flags, [] { return std::int64_t{0}; });
}

int beat_for_all_hosts(SharedStore& shared, std::shared_ptr<const federation::Signer> signer,
                       const Attachment& attached, const BeatFlags& flags) {
  if (signer != nullptr && !signer->can_sign())
    return fail("beat start", {Errc::kInvalidArgument,
                               "what is fired is signed; STEM_SIGNING_ACTIVE_KEY and "
                               "STEM_SIGNING_PRIVATE_KEYS are wanted"});
  const std::string host = federation::Transcript(attached.segment()).host();
  federation::RedisLock lock(attached.engine(), shared.redis, shared.keys,
                             fmt::format("{}-{}-{:016x}", host, ::getpid(), base::realtime_ns()), flags.lock_ttl_ns);
  ScheduledTaskMaker maker(attached.segment());
  auto board = std::make_unique<federation::SharedBoard>(
      shared.schedules, attached.segment(), maker,
      federation::SharedBoard::Options{.look_ns = flags.tick_ns, .host = host, .signer = std::move(signer)});
  beat::Scheduler scheduler(std::move(board), attached.engine(), lock,
                            {.tick_ns = flags.tick_ns, .tell = log_event, .stopwatch_ns = base::monotonic_ns});
  log::info("beat ready", {{"redis_namespace", shared.keys.name_space()},
                           {"host", host},
                           {"tick", base::write_duration(flags.tick_ns)},
                           {"lock_ttl", base::write_duration(flags.lock_ttl_ns)}});
  std::string said;
  return run_beat(attached, scheduler, lock, flags, [&lock, &said] {
    if (lock.fault() != said && !lock.fault().empty()) log::warn("beat without Redis", {{"error", lock.fault()}});
    said = lock.fault();
    return lock.ahead_ns();
  });
}

int start_beat(const BeatFlags& flags, const Context& context) {
  if (auto good = check(flags); !good.ok()) return fail("beat start", good.error());
  const auto shared = open_shared(flags.store, context, flags.lock_ttl_ns / 2);
  if (!shared.ok()) return fail("beat start", shared.error());
  std::shared_ptr<const federation::Signer> signer;
  if (*shared != nullptr) {  // what stays on this host is not signed
    auto made = make_signer(flags.signing, context);
    if (!made.ok()) return fail("beat start", made.error());
    signer = *made;
  }
  const auto attached = Attachment::open_or_create(context, shm::Role::kBeat, "beat");
  if (!attached.ok()) return fail("beat start", attached.error());
  if (auto good = beat::ScheduleStore(attached->engine()).prepare_table(); !good.ok())
    return fail("beat start", good.error());
  return *shared != nullptr ? beat_for_all_hosts(**shared, signer, *attached, flags)
                            : beat_for_this_host(*attached, flags);
}

Run build_beat_start(CommandLine& line) {
  auto flags = std::make_shared<BeatFlags>();
  line.duration_ns("--tick", &flags->tick_ns, "how often to look for changed schedules, at least (default 1s)");
  line.duration_ns("--lock-ttl", &flags->lock_ttl_ns, "a holder silent for so long is replaced (default 5s)");
  declare_store_flags(line, &flags->store);
  declare_signing_flags(line, &flags->signing);
  return [flags](const Context& context) { return start_beat(*flags, context); };
}

}  // namespace

std::vector<Command> beat_commands() {
  return {{.path = "beat start",
           .group = Group::kRun,
           .help = "Fire schedules on time",
           .details =
               "Start as many as you like: one of them fires, the others stand by and take over at once when it "
               "is gone, or after --lock-ttl when it is stuck. Every tick becomes one task, whoever is killed. "
               "SIGTERM and SIGINT end it and let the lock go. With --redis it fires the schedules that were applied "
               "there, for all hosts that start it so: their tasks go to the queues' streams, and run on hosts "
               "that import them.",
           .examples = {{"stem beat start", ""},
                        {"stem beat start --redis redis://broker", "on as many hosts as you like"},
                        {"stem beat start --lock-ttl 2s", "a stuck one is replaced sooner"}},
           .build = build_beat_start}};
}

}  // namespace stem::cli
