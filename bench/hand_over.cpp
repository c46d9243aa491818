#include "bench/hand_over.hpp"

#include <time.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/random.hpp"
#include "bench/failure.hpp"
#include "bench/floor.hpp"
#include "bench/scene.hpp"
#include "engine/due_sleep.hpp"
#include "engine/keeper.hpp"
#include "engine/query.hpp"

namespace stem::bench {

namespace {

// After an answer the worker still has to acknowledge and to look for work again: the next task comes when
// it has long done so.
constexpr double kPauseNs = 2'000;
constexpr std::uint64_t kWarmUp = 1000;

struct Stage {
  alignas(128) HandoffArea handoff;
  alignas(128) std::atomic<std::uint64_t> answered{0};  // W: worker: the task it has started, from 1
  alignas(128) std::atomic<std::uint64_t> asleep{0};    // W: worker: how often it has gone to sleep
  alignas(128) StartGate start;
  alignas(128) StartGate end;
  alignas(128) std::atomic<std::uint32_t> stop{0};
  double handoff_before_ns = 0;
  double handoff_after_ns = 0;
  std::uint64_t early = 0;
};

engine::TaskSpec spec_of(Seat& seat, const std::uint64_t& number) {
  engine::TaskSpec spec;
  spec.queue = seat.queue();
  spec.task = seat.task();
  spec.payload = std::as_bytes(std::span(&number, 1));
  return spec;
}

void must_enqueue(Seat& seat, const engine::TaskSpec& spec, engine::TaskId* id = nullptr) {
  const engine::EnqueueResult result = seat.engine().enqueue(spec, base::monotonic_ns());
  if (result.status != engine::EnqueueStatus::kOk)
    throw Failure(std::string("enqueue said ") + engine::to_string(result.status));
  if (id != nullptr) *id = result.id;
}

enum class Idle { kSpin, kPark };

void look_until(Seat& seat, std::int64_t until_ns) {
  while (!seat.engine().has_hint(seat.queue()) && base::monotonic_ns() < until_ns) cpu_relax();
}

// Runs `tasks` tasks one at a time, or until told to stop, and calls `handler(number)` for each, which
// returns the result to keep. The loop of a worker process, with `idle` for what it does without work.
template <class Handler>
void work(Seat& seat, Stage& stage, std::uint64_t tasks, Idle idle, Handler handler) {
  engine::Engine& engine = seat.engine();
  engine::TaskView view;
  bool rung = false;
  for (std::uint64_t done = 0; done < tasks && stage.stop.load(std::memory_order_relaxed) == 0;) {
    engine::Lease lease;
    if (!engine.has_hint(seat.queue())) {
      if (idle == Idle::kPark) {
        if (std::exchange(rung, false)) {
          look_until(seat, engine::due_soon_ns(seat.segment(), base::monotonic_ns()));
          continue;
        }
        engine.lanes().clear_marks(seat.queue());
        stage.asleep.fetch_add(1, std::memory_order_release);
        rung = shm::WakeReason::kRung == shm::sleep_for_work(seat.participant(), engine::kSecondNs / 10,
                                                             [&] { return engine.maybe_ready(seat.queue()); });
      }
      cpu_relax();  // as a worker process does
      continue;
    }
    const std::int64_t now_ns = base::monotonic_ns();
    if (engine.claim(seat.queue(), &lease, 1, now_ns) == 0) continue;
    if (!engine.view(lease, view) || engine.begin(lease, view, now_ns) != engine::Begin::kStart)
      throw Failure("a task was lost before it started");
    std::uint64_t number = 0;
    std::memcpy(&number, view.payload.data(), sizeof number);
    const std::uint64_t result = handler(number);
    const std::int64_t end_ns = base::monotonic_ns();
    if (engine.succeed(lease, view, std::as_bytes(std::span(&result, 1)), end_ns) != engine::Settled::kDone)
      throw Failure("a lease was lost before its acknowledgement");
    seat.participant().record_duration(view.task, end_ns - now_ns);
    ++done;
  }
}

// The two processes of a hand-over, with the probe around what `lead` and `follow` do.
HandOver play(CpuPair cpus, std::uint64_t tasks, const std::function<void(Seat&, Stage&, std::uint64_t*)>& lead,
              const std::function<void(Seat&, Stage&)>& follow) {
  Scene scene;
  Shared<Stage> stage;
  SharedMemory memory(tasks * sizeof(std::uint64_t));
  auto* ticks = static_cast<std::uint64_t*>(memory.data());
  run_pair(
      cpus,
      [&] {
        Seat seat(scene, shm::Role::kClient, "producer");
        stage->start.arrive_and_wait(2);
        stage->handoff_before_ns = probe_lead(stage->handoff);
        lead(seat, *stage, ticks);
        stage->end.arrive_and_wait(2);
        stage->handoff_after_ns = probe_lead(stage->handoff);
      },
      [&] {
        Seat seat(scene, shm::Role::kWorker, "worker");
        stage->start.arrive_and_wait(2);
        probe_follow(stage->handoff);
        follow(seat, *stage);
        stage->end.arrive_and_wait(2);
        probe_follow(stage->handoff);
      });
  HandOver result;
  result.handoff_before_ns = stage->handoff_before_ns;
  result.handoff_after_ns = stage->handoff_after_ns;
  result.times = percentiles_of_ticks({ticks, tasks});
  return result;
}

// The way back is a bare hand-off of the same kind as the probe's.
HandOver without_way_back(HandOver times) {
  const double back_ns = times.handoff_ns();
  Percentiles& p = times.times;
  for (double* ns : {&p.p50_ns, &p.p90_ns, &p.p99_ns, &p.p999_ns, &p.max_ns}) *ns = std::max(*ns - back_ns, 0.0);
  return times;
}

HandOver start_times(CpuPair cpus, std::uint64_t tasks, Idle idle, double pause_ns) {
  const auto lead = [&](Seat& seat, Stage& stage, std::uint64_t* ticks) {
    for (std::uint64_t i = 0; i < kWarmUp + tasks; ++i) {
      const std::uint64_t number = i + 1;
      const engine::TaskSpec spec = spec_of(seat, number);
      if (idle == Idle::kPark) {
        // It has cleared the queue's marks and gone to sleep again.
        while (!shm::anyone_sleeps(seat.segment())) cpu_relax();
      }
      spin_for_ns(pause_ns);
      const std::uint64_t from = ticks_now();
      must_enqueue(seat, spec);
      // order(bench.answer): acquire; pairs with the handler's release
      while (stage.answered.load(std::memory_order_acquire) != number) {
      }
      const std::uint64_t to = ticks_now();
      if (i >= kWarmUp) ticks[i - kWarmUp] = to - from;
    }
  };
  const auto follow = [&](Seat& seat, Stage& stage) {
    work(seat, stage, kWarmUp + tasks, idle, [&](std::uint64_t number) {
      // order(bench.answer): release; the handler has started
      stage.answered.store(number, std::memory_order_release);
      return number;
    });
  };
  return without_way_back(play(cpus, tasks, lead, follow));
}

}  // namespace

HandOver start_spinning(CpuPair cpus, std::uint64_t tasks) { return start_times(cpus, tasks, Idle::kSpin, kPauseNs); }

HandOver start_parked(CpuPair cpus, std::uint64_t tasks, double idle_ns) {
  return start_times(cpus, tasks, Idle::kPark, idle_ns);
}

HandOver result_back(CpuPair cpus, std::uint64_t tasks) {
  const auto lead = [&](Seat& seat, Stage&, std::uint64_t* ticks) {
    std::vector<std::byte> bytes;
    engine::FailureRecord failure;
    bytes.reserve(sizeof(std::uint64_t));
    for (std::uint64_t i = 0; i < kWarmUp + tasks; ++i) {
      const std::uint64_t number = i + 1;
      engine::TaskSpec spec = spec_of(seat, number);
      spec.keep_result = true;
      engine::TaskId id;
      engine::ResultState state = engine::ResultState::kPending;
      spin_for_ns(kPauseNs);
      const std::uint64_t from = ticks_now();
      must_enqueue(seat, spec, &id);
      while ((state = engine::read_result(seat.engine(), id, bytes, failure)) == engine::ResultState::kPending)
        cpu_relax();  // as the client does
      const std::uint64_t to = ticks_now();
      std::uint64_t result = 0;
      if (bytes.size() >= sizeof result) std::memcpy(&result, bytes.data(), sizeof result);
      if (state != engine::ResultState::kSucceeded || result != number) throw Failure("a result came back wrong");
      if (i >= kWarmUp) ticks[i - kWarmUp] = to - from;
    }
  };
  const auto follow = [&](Seat& seat, Stage& stage) {
    work(seat, stage, kWarmUp + tasks, Idle::kSpin, [](std::uint64_t number) { return number; });
  };
  return play(cpus, tasks, lead, follow);
}

namespace {

// Stands for the keeper and sleeps until its next due time, or until a producer rings, as the supervisor does.
void keep(Seat& seat, Stage& stage) {
  engine::Keeper keeper(seat.engine());
  engine::DueSleep due_sleep(keeper, /*ahead=*/true);
  const auto& bell = seat.participant().row().doorbell;
  while (stage.stop.load(std::memory_order_relaxed) == 0) {
    const std::uint32_t seen = bell.load(std::memory_order_acquire);
    due_sleep.until(
        keeper.step(base::monotonic_ns()), base::monotonic_ns,
        [&](std::int64_t until_ns) {
          (void)shm::park(seat.participant(), seen, std::max<std::int64_t>(until_ns - base::monotonic_ns(), 1));
        },
        [&] {
          cpu_relax();
          return bell.load(std::memory_order_acquire) != seen;
        });
  }
}

// Sends each task with a time 1 to 20 ms ahead, and sleeps until that one has started.
void send_delayed(Seat& seat, Stage& stage, std::uint64_t tasks, std::int64_t* due_ns) {
  base::Random random(1);
  for (std::uint64_t i = 0; i < tasks; ++i) {
    const std::uint64_t number = i + 1;
    engine::TaskSpec spec = spec_of(seat, number);
    const std::int64_t now_ns = base::monotonic_ns();
    spec.due_ns = now_ns + 1'000'000 + static_cast<std::int64_t>(random.next() % 19'000'000);
    due_ns[i] = spec.due_ns;
    must_enqueue(seat, spec);
    while (stage.answered.load(std::memory_order_acquire) != number) {
      const timespec nap{0, 2'000'000};
      nanosleep(&nap, nullptr);
    }
  }
}

}  // namespace

Lateness delayed_start(CpuPair cpus, std::uint64_t tasks, bool worker_parked) {
  Scene scene;
  Shared<Stage> stage;
  SharedMemory due_memory(tasks * sizeof(std::int64_t));
  SharedMemory late_memory(tasks * sizeof(std::uint64_t));
  auto* due_ns = static_cast<std::int64_t*>(due_memory.data());
  auto* late_ns = static_cast<std::uint64_t*>(late_memory.data());
  run_processes({
      {cpus.first,
       [&] {
         Seat seat(scene, shm::Role::kClient, "producer");
         stage->start.arrive_and_wait(3);
         send_delayed(seat, *stage, tasks, due_ns);
         stage->stop.store(1, std::memory_order_relaxed);
       }},
      {cpus.first,
       [&] {
         Seat seat(scene, shm::Role::kSupervisor, "keeper");
         stage->start.arrive_and_wait(3);
         keep(seat, *stage);
       }},
      {cpus.second,
       [&] {
         Seat seat(scene, shm::Role::kWorker, "worker");
         stage->start.arrive_and_wait(3);
         work(seat, *stage, tasks, worker_parked ? Idle::kPark : Idle::kSpin, [&](std::uint64_t number) {
           const std::int64_t late = base::monotonic_ns() - due_ns[number - 1];
           if (late < 0) ++stage->early;
           late_ns[number - 1] = static_cast<std::uint64_t>(std::max<std::int64_t>(late, 0));
           stage->answered.store(number, std::memory_order_release);
           return number;
         });
       }},
  });
  Lateness result;
  result.times = percentiles_of_ns({late_ns, tasks});
  result.early = stage->early;
  return result;
}

}  // namespace stem::bench
