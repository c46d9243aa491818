#include "bench/federation_host.hpp"

#include <fmt/format.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "bench/failure.hpp"
#include "bench/measure.hpp"

namespace stem::bench {

namespace {

constexpr std::int64_t kParkNs = 20'000'000;

std::string program_beside(const char* name) {
  return (std::filesystem::read_symlink("/proc/self/exe").parent_path() / name).string();
}

std::size_t gateway_connections(const RedisServer& redis) {
  const Reply list = RedisClient(redis.socket()).command({"CLIENT", "LIST"});
  const std::string_view text = text_of(*list);
  std::size_t n = 0;
  for (std::size_t at = text.find(" name=stem-gateway:"); at != text.npos;
       at = text.find(" name=stem-gateway:", at + 1))
    ++n;
  return n;
}

std::vector<std::string> gateway_command(const Scene& host, const RedisServer& redis,
                                         const GatewayProcess::Options& options) {
  std::vector<std::string> command = {find_program("env").value(),
                                      "STEM_SHM_DIRECTORY=" + host.directory(),
                                      program_beside("stem"),
                                      "gateway",
                                      "start",
                                      "--namespace",
                                      host.name_space(),
                                      "--redis",
                                      "unix://" + redis.socket(),
                                      "--redis-namespace",
                                      "stem",
                                      "--prefetch-multiplier",
                                      std::to_string(options.prefetch),
                                      "--spin-us",
                                      std::to_string(options.spin_us)};
  if (options.niceness) command.insert(command.end(), {"--nice", std::to_string(*options.niceness)});
  for (const std::string& queue : options.exports) command.insert(command.end(), {"--export", queue});
  for (const std::string& queue : options.imports) command.insert(command.end(), {"--import", queue});
  return command;
}

// As a worker process started with --spin-us 0: on two processors the gateway and Redis have use for both.
void idle(Seat& seat) {
  engine::Engine& engine = seat.engine();
  engine.lanes().clear_marks(seat.queue());
  shm::sleep_for_work(seat.participant(), kParkNs, [&] { return engine.maybe_ready(seat.queue()); });
}

}  // namespace

GatewayProcess::GatewayProcess(const Scene& host, const RedisServer& redis, const Options& options)
    : connections_before_(gateway_connections(redis)),
      process_(gateway_command(host, redis, options), directory_.path() + "/gateway.log", [this, &redis, &options] {
        return gateway_connections(redis) == connections_before_ + 1 + options.imports.size();
      }) {}

std::string federation_missing() {
  if (!find_program("redis-server")) return "redis-server is not installed";
  if (access(program_beside("stem").c_str(), X_OK) != 0) return "the program stem is not beside this one";
  return {};
}

// ---- what is read off them

double cpu_ns_of(pid_t pid) {
  clockid_t clock = 0;
  timespec ts{};
  if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &ts) != 0)
    throw Failure(fmt::format("process {} has ended", pid));
  return static_cast<double>(ts.tv_sec) * 1e9 + static_cast<double>(ts.tv_nsec);
}

FlowMeter::Mark FlowMeter::mark(std::uint64_t done) const {
  return {done, ticks_now(), {cpu_ns_of(pids_[0]), cpu_ns_of(pids_[1])}};
}

bool FlowMeter::count(std::uint64_t done) {
  if (!started_ && done >= total_ / 20) {
    started_ = true;
    start_ = mark(done);
  }
  if (done < total_) return false;
  const Mark end = mark(done);
  const auto tasks = static_cast<double>(end.done - start_.done);
  if (tasks <= 0) return true;  // all at once: no rate
  flow_.tasks_per_s = tasks / (static_cast<double>(end.ticks - start_.ticks) * ns_per_tick() * 1e-9);
  flow_.own_cpu_ns = (end.cpu_ns[0] - start_.cpu_ns[0]) / tasks;
  flow_.redis_cpu_ns = (end.cpu_ns[1] - start_.cpu_ns[1]) / tasks;
  return true;
}

void nap_us(long us) {
  const timespec nap{us / 1'000'000, us % 1'000'000 * 1000};
  nanosleep(&nap, nullptr);
}

Resident resident_of(pid_t pid) {
  std::ifstream status(fmt::format("/proc/{}/status", pid));
  Resident resident;
  for (std::string word; status >> word;) {
    if (word != "VmRSS:" && word != "RssAnon:") continue;
    std::uint64_t kib = 0;
    status >> kib;
    (word == "VmRSS:" ? resident.all_bytes : resident.own_bytes) = kib * 1024;
  }
  if (resident.own_bytes == 0) throw Failure(fmt::format("process {} has ended", pid));
  return resident;
}

// ---- the two ends

std::string federation_payload(std::uint64_t number, std::uint32_t bytes) {
  constexpr std::uint32_t kFrameBytes = 18;  // names, lengths and the number
  const std::string text(bytes > kFrameBytes ? bytes - kFrameBytes : 0, 'x');
  const auto packed = nlohmann::json::to_msgpack({{"n", number}, {"text", text}});
  return {packed.begin(), packed.end()};
}

void enqueue_numbers(Seat& seat, std::uint32_t queue, std::uint64_t from, std::uint64_t to, std::uint32_t bytes) {
  constexpr std::uint64_t kAtOnce = 64;
  std::vector<std::string> payloads;
  std::vector<engine::TaskSpec> specs;
  while (from < to) {
    const std::uint64_t n = std::min(kAtOnce, to - from);
    payloads.clear();
    specs.clear();
    for (std::uint64_t i = 0; i < n; ++i) payloads.push_back(federation_payload(from + i, bytes));
    for (const std::string& payload : payloads) {
      engine::TaskSpec spec;
      spec.queue = queue;
      spec.task = seat.task();
      spec.payload = std::as_bytes(std::span(payload));
      specs.push_back(spec);
    }
    std::size_t done = 0;
    const auto status = seat.engine().enqueue_many(specs.data(), specs.size(), nullptr, done, base::monotonic_ns());
    if (done != n) throw Failure(fmt::format("enqueue said {}", engine::to_string(status)));
    from += n;
  }
}

void serve(Seat& seat, const std::atomic<std::uint32_t>& stop,
           const std::function<void(const engine::TaskView&)>& run) {
  engine::Engine& engine = seat.engine();
  engine::Lease leases[16];
  engine::TaskView view;
  while (stop.load(std::memory_order_relaxed) == 0) {
    seat.participant().beat();
    const std::int64_t now_ns = base::monotonic_ns();
    const std::uint32_t n = engine.claim(seat.queue(), leases, std::size(leases), now_ns);
    if (n == 0) idle(seat);
    for (std::uint32_t i = 0; i < n; ++i) {
      if (!engine.view(leases[i], view) || engine.begin(leases[i], view, now_ns) != engine::Begin::kStart)
        throw Failure("a task was lost before it started");
      run(view);
      if (engine.succeed(leases[i], view, {}, now_ns) != engine::Settled::kDone)
        throw Failure("a lease was lost before its acknowledgement");
    }
  }
}

}  // namespace stem::bench
