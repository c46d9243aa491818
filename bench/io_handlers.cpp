#include "bench/io_handlers.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <string>

#include "base/clock.hpp"
#include "bench/failure.hpp"
#include "bench/scene.hpp"
#include "stem/client.hpp"
#include "stem/co.hpp"
#include "stem/worker.hpp"

namespace stem::bench {
namespace {

constexpr std::int64_t kPatienceNs = 60'000'000'000;
constexpr Task<void(std::uint32_t)> kNap{"bench.nap"};
constexpr Task<void(std::uint32_t)> kNote{"bench.note"};

struct Stage {
  std::atomic<std::uint32_t> worker_pid{0};
  std::atomic<std::uint32_t> under_way{0};
  std::atomic<std::uint64_t> frame_bytes{0};
  std::atomic<std::uint64_t> own_frame_bytes{0};
  std::atomic<std::int64_t> started_ns{0};
};

template <class Condition>
void wait_for(Condition condition, const char* what) {
  const std::int64_t until = base::monotonic_ns() + kPatienceNs;
  while (!condition()) {
    if (base::monotonic_ns() > until) throw Failure(std::string("waited a minute for ") + what);
    ::usleep(200);
  }
}

// A worker of the user's own program, in a fork; ended with the object, hard.
class WorkerProgram {
 public:
  WorkerProgram(const Scene& scene, const WorkerOptions& options, const std::function<void(Worker&)>& add) {
    pid_ = ::fork();
    if (pid_ < 0) fail_with_errno("fork");
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::setenv("STEM_SHM_DIRECTORY", scene.directory().c_str(), 1);
    ::setenv("STEM_LOG", "error", 1);
    auto worker = Worker::open(scene.name_space(), options);
    if (!worker) std::_Exit(1);
    add(*worker);
    std::_Exit(worker->run());
  }
  ~WorkerProgram() {
    ::kill(pid_, SIGQUIT);
    int status = 0;
    ::waitpid(pid_, &status, 0);
  }
  WorkerProgram(const WorkerProgram&) = delete;
  WorkerProgram& operator=(const WorkerProgram&) = delete;

 private:
  pid_t pid_ = -1;
};

double private_bytes(std::uint32_t pid) {
  std::ifstream file(fmt::format("/proc/{}/status", pid));
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("RssAnon:")) return std::strtod(line.c_str() + 8, nullptr) * 1024;
  throw Failure("the worker's memory cannot be read");
}

Co<void> nap(Stage& stage) {
  ++stage.under_way;
  (void)co_await sleep(std::chrono::hours(1));
}

Client client_of(const Scene& scene) {
  auto client = Client::open(scene.name_space(), {.directory = scene.directory(), .create = false});
  if (!client) throw Failure(client.error().message);
  return std::move(*client);
}

}  // namespace

SleepersMemory sleepers_memory(std::uint32_t count) {
  shm::SegmentOptions segment;
  segment.slot_count = count + count / 4 + 4096;
  const Scene scene(segment);
  const Shared<Stage> stage;
  WorkerOptions options;
  options.concurrency = 1;
  options.async_slots = count + 1;
  options.banner = false;
  const WorkerProgram program(scene, options, [&](Worker& worker) {
    worker.on(kNap, [&](Context&, std::uint32_t) -> Co<void> {
      const std::uint64_t before = co::frame_use().bytes;
      Co<void> own = nap(*stage);
      if (stage->own_frame_bytes == 0) stage->own_frame_bytes = co::frame_use().bytes - before;
      stage->worker_pid = static_cast<std::uint32_t>(::getpid());
      stage->frame_bytes = co::frame_use().bytes;
      return own;
    });
  });
  Client client = client_of(scene);
  const auto put = [&] {
    if (auto handle = client.enqueue(kNap, 1); !handle) throw Failure(handle.error().message);
  };
  put();  // what the first one makes is not each one's
  wait_for([&] { return stage->under_way == 1; }, "the first handler");
  const double memory = private_bytes(stage->worker_pid);
  const auto frames = static_cast<double>(stage->frame_bytes);
  for (std::uint32_t i = 0; i < count; ++i) put();
  wait_for([&] { return stage->under_way == count + 1; }, "all handlers to sleep");
  return {(private_bytes(stage->worker_pid) - memory) / count, static_cast<double>(stage->own_frame_bytes),
          (static_cast<double>(stage->frame_bytes) - frames) / count};
}

std::vector<std::uint64_t> parked_start_times(CpuPair cpus, HandlerKind kind, std::uint64_t starts) {
  const Scene scene;
  const Shared<Stage> stage;
  WorkerOptions options;
  options.concurrency = 1;
  options.banner = false;
  options.pin = std::to_string(cpus.second);
  const WorkerProgram program(scene, options, [&](Worker& worker) {
    const auto note = [&] { stage->started_ns.store(base::monotonic_ns(), std::memory_order_release); };
    if (kind == HandlerKind::kPlain)
      worker.on(kNote, [note](Context&, std::uint32_t) { note(); });
    else
      worker.on(kNote, [note](Context&, std::uint32_t) -> Co<void> {
        note();
        co_return;
      });
  });
  pin_to_cpu(cpus.first);
  Client client = client_of(scene);
  std::vector<std::uint64_t> ns;
  for (std::uint64_t i = 0; i < starts + 10; ++i) {
    stage->started_ns = 0;
    ::usleep(1'000);  // twenty times as long as it spins
    const std::int64_t from = base::monotonic_ns();
    if (auto handle = client.enqueue(kNote, 1); !handle) throw Failure(handle.error().message);
    while (stage->started_ns.load(std::memory_order_acquire) == 0) {
      if (base::monotonic_ns() - from > kPatienceNs) throw Failure("the handler did not start");
    }
    if (i >= 10) ns.push_back(static_cast<std::uint64_t>(std::max<std::int64_t>(stage->started_ns - from, 0)));
  }
  return ns;
}

}  // namespace stem::bench
