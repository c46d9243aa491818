#include "bench/crash.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <csignal>
#include <cstring>
#include <filesystem>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "bench/failure.hpp"
#include "bench/scene.hpp"
#include "bench/server_process.hpp"
#include "worker/supervisor.hpp"

namespace stem::bench {

namespace {

constexpr std::uint32_t kWorkers = 10;
// A worker that crashes twice is restarted with a growing delay: a new supervisor comes before that.
constexpr std::uint64_t kDeathsPerSupervisor = 8;
constexpr std::chrono::seconds kPatience{20};

void nap() noexcept {
  const timespec time{0, 100'000};
  nanosleep(&time, nullptr);
}

// Memory that the dying process has to give back.
void touch(std::uint64_t bytes) {
  if (bytes == 0) return;
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) fail_with_errno("map the victim's memory");
  std::memset(memory, 1, bytes);
}

// Written by the handlers, read by the driver.
struct Stage {
  std::atomic<std::uint32_t> supervisor{0};
  std::atomic<std::uint32_t> victim{0};          // pid of the process that runs the task first
  std::atomic<std::int64_t> death_ns{0};         // W: killer: just before
  std::atomic<std::int64_t> second_start_ns{0};  // the task has started again
};

worker::Outcome handle(Stage& stage, const CrashPlan& plan, worker::TaskContext& task) {
  if (task.attempt() > 0) {
    stage.second_start_ns.store(base::monotonic_ns(), std::memory_order_release);
    return worker::Outcome::success();
  }
  touch(plan.victim_bytes);
  if (plan.death == Death::kSegmentation) {
    stage.death_ns.store(base::monotonic_ns(), std::memory_order_release);
    std::raise(SIGSEGV);
  }
  stage.victim.store(static_cast<std::uint32_t>(getpid()), std::memory_order_release);
  for (;;) pause();
}

void supervise(const Scene& scene, Stage& stage, const CrashPlan& plan, const std::string& directory) {
  if (chdir(directory.c_str()) != 0) fail_with_errno("enter " + directory);  // core files fall here
  if (plan.death == Death::kSegmentation) {
    const rlimit unlimited{RLIM_INFINITY, RLIM_INFINITY};
    if (setrlimit(RLIMIT_CORE, &unlimited) != 0) fail_with_errno("allow core files");
  }
  log::configure({log::Level::kError, log::Format::kPretty});
  worker::WorkerOptions options;
  options.segment.name_space = scene.name_space();
  options.segment.directory = scene.directory();
  options.queues = {"bench"};
  options.node = "bench";
  options.concurrency = kWorkers;
  options.print_banner = false;
  worker::HandlerTable handlers;
  handlers.on("bench.no-op", [&](worker::TaskContext& task) { return handle(stage, plan, task); });
  stage.supervisor.store(static_cast<std::uint32_t>(getpid()), std::memory_order_release);
  if (const auto ran = worker::run(options, handlers); !ran) throw Failure(ran.error().message);
}

template <class Condition>
void wait_until(const char* what, Condition condition) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > until) throw Failure(fmt::format("waited in vain: {}", what));
    nap();
  }
}

std::uint32_t asleep(const shm::Segment& segment) {
  std::uint32_t n = 0;
  for (std::uint32_t word = 0; word < (segment.geometry().participant_count + 63) / 64; ++word)
    n += static_cast<std::uint32_t>(std::popcount(segment.header().sleepers[word].load(std::memory_order_acquire)));
  return n;
}

// One task, one death; the time until it starts again.
std::uint64_t one_death(Seat& seat, Stage& stage, const CrashPlan& plan) {
  stage.victim.store(0, std::memory_order_relaxed);
  stage.second_start_ns.store(0, std::memory_order_relaxed);
  engine::TaskSpec spec;
  spec.queue = seat.queue();
  spec.task = seat.task();
  if (seat.engine().enqueue(spec, base::monotonic_ns()).status != engine::EnqueueStatus::kOk)
    throw Failure("the task was not accepted");
  if (plan.death == Death::kKilled) {
    wait_until("a worker starts the task", [&] { return stage.victim.load(std::memory_order_acquire) != 0; });
    stage.death_ns.store(base::monotonic_ns(), std::memory_order_relaxed);
    kill(static_cast<pid_t>(stage.victim.load(std::memory_order_relaxed)), SIGKILL);
  }
  wait_until("the task starts again", [&] { return stage.second_start_ns.load(std::memory_order_acquire) != 0; });
  const std::int64_t ns =
      stage.second_start_ns.load(std::memory_order_acquire) - stage.death_ns.load(std::memory_order_acquire);
  return static_cast<std::uint64_t>(std::max<std::int64_t>(ns, 0));
}

std::uint64_t core_files_in(const std::string& directory) {
  std::uint64_t n = 0;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(directory, ignored))
    if (entry.path().filename().string().starts_with("core"))
      n += std::filesystem::remove(entry.path(), ignored) ? 1 : 0;
  return n;
}

}  // namespace

CrashTimes redelivery_times(const CrashPlan& plan) {
  CrashTimes times;
  const TemporaryDirectory directory;
  SharedMemory results((plan.deaths + 1) * sizeof(std::uint64_t));
  auto* ns = static_cast<std::uint64_t*>(results.data());
  for (std::uint64_t done = 0; done < plan.deaths;) {
    const std::uint64_t deaths = std::min(kDeathsPerSupervisor, plan.deaths - done);
    Scene scene;
    Shared<Stage> stage;
    const auto drive = [&] {
      Seat seat(scene, shm::Role::kClient, "driver");
      wait_until("all workers have gone to sleep", [&] { return asleep(seat.segment()) == kWorkers; });
      for (std::uint64_t i = 0; i < deaths; ++i) ns[done + i] = one_death(seat, *stage, plan);
      kill(static_cast<pid_t>(stage->supervisor.load(std::memory_order_acquire)), SIGTERM);
    };
    run_processes({{kAnyCpu, [&] { supervise(scene, *stage, plan, directory.path()); }}, {kAnyCpu, drive}},
                  std::chrono::minutes(3));
    times.core_files += core_files_in(directory.path());
    done += deaths;
  }
  times.ns.assign(ns, ns + plan.deaths);
  return times;
}

namespace {

struct Bare {
  pthread_mutex_t alive;
  std::atomic<std::uint32_t> victim{0};
  std::atomic<std::int64_t> death_ns{0};
};

[[noreturn]] void hold_and_wait(Bare& bare, const CrashPlan& plan) {
  touch(plan.victim_bytes);
  pthread_mutex_lock(&bare.alive);
  bare.victim.store(static_cast<std::uint32_t>(getpid()), std::memory_order_release);
  for (;;) pause();
}

void make_robust(pthread_mutex_t& mutex) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  if (pthread_mutex_init(&mutex, &attributes) != 0) throw Failure("no robust mutexes here");
  pthread_mutexattr_destroy(&attributes);
}

}  // namespace

std::vector<std::uint64_t> bare_death_times(const CrashPlan& plan) {
  std::vector<std::uint64_t> times;
  for (std::uint64_t i = 0; i < plan.deaths; ++i) {
    Shared<Bare> bare;
    Shared<std::uint64_t> ns;
    make_robust(bare->alive);
    const auto watch = [&] {
      const pid_t victim = fork();
      if (victim < 0) fail_with_errno("fork");
      if (victim == 0) hold_and_wait(*bare, plan);
      wait_until("the victim holds its mutex", [&] { return bare->victim.load(std::memory_order_acquire) != 0; });
      const pid_t killer = fork();
      if (killer < 0) fail_with_errno("fork");
      if (killer == 0) {
        const timespec until_parked{0, 5'000'000};
        nanosleep(&until_parked, nullptr);
        bare->death_ns.store(base::monotonic_ns(), std::memory_order_release);
        kill(victim, SIGKILL);
        _exit(0);
      }
      if (pthread_mutex_lock(&bare->alive) != EOWNERDEAD) throw Failure("the mutex was not left by a dead owner");
      const std::int64_t now_ns = base::monotonic_ns();
      *ns = static_cast<std::uint64_t>(now_ns - bare->death_ns.load(std::memory_order_acquire));
      waitpid(killer, nullptr, 0);
      waitpid(victim, nullptr, 0);
    };
    run_processes({{kAnyCpu, watch}});
    times.push_back(*ns);
  }
  return times;
}

}  // namespace stem::bench
