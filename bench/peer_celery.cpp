// Celery on the same Redis: a Python process that sends, a worker with a process for each core that acknowledges late.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "bench/failure.hpp"
#include "bench/federation_host.hpp"
#include "bench/peer.hpp"
#include "bench/peer_script.hpp"
#include "bench/redis_client.hpp"

namespace stem::bench {

namespace {

constexpr const char* kName = "Celery";
constexpr const char* kSystemPython = "/usr/bin/python3";

// The first that has Celery: another may come before the system's.
std::optional<std::string> find_python() {
  for (const std::optional<std::string>& python :
       {find_program("python3"), std::optional<std::string>(kSystemPython)}) {
    if (!python) continue;
    const std::string look = fmt::format("'{}' -c 'import celery, redis' >/dev/null 2>&1", *python);
    if (std::system(look.c_str()) == 0) return python;
  }
  return std::nullopt;
}

std::string missing() {
  if (!find_program("redis-server")) return "redis-server is not installed";
  return find_python() ? "" : "no python3 here has celery and redis: tools/setup installs them";
}

// A byte for each task, which the worker's processes count up.
class Ledger {
 public:
  Ledger(const std::string& path, std::uint64_t tasks) : tasks_(tasks) {
    const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, static_cast<off_t>(tasks)) != 0) fail_with_errno("make " + path);
    void* memory = mmap(nullptr, tasks, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (memory == MAP_FAILED) fail_with_errno("map " + path);
    marks_ = static_cast<const volatile std::uint8_t*>(memory);
  }
  ~Ledger() { munmap(const_cast<std::uint8_t*>(marks_), tasks_); }
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  // All have run at least once; looks on from the first that had not.
  bool is_full() {
    while (at_ < tasks_ && marks_[at_] != 0) ++at_;
    return at_ == tasks_;
  }
  void check_once() const {
    for (std::uint64_t i = 0; i < tasks_; ++i)
      if (marks_[i] != 1) throw Failure(fmt::format("Celery: task {} ran {} times", i, marks_[i]));
  }

 private:
  std::uint64_t tasks_;
  std::uint64_t at_ = 0;
  const volatile std::uint8_t* marks_ = nullptr;
};

bool waits_for_tasks(const RedisServer& server) {
  const Reply list = RedisClient(server.socket()).command({"CLIENT", "LIST"});
  return text_of(*list).find(" cmd=brpop") != std::string_view::npos;
}

PeerResult run(const Work& work) {
  const RedisServer server;
  const TemporaryDirectory scratch;
  Ledger ledger(scratch.path() + "/ledger", work.tasks);
  const std::string python = find_python().value(), sources = peer_directory("celery");
  const std::vector<std::string> environment = {*find_program("env"),
                                                "STEM_BENCH_SOCKET=" + server.socket(),
                                                "STEM_BENCH_LEDGER=" + scratch.path() + "/ledger",
                                                "PYTHONPATH=" + sources,
                                                "PYTHONDONTWRITEBYTECODE=1",
                                                "C_FORCE_ROOT=1"};
  const auto command = [&](std::vector<std::string> words) {
    words.insert(words.begin(), environment.begin(), environment.end());
    return words;
  };
  const std::string processes = std::to_string(allowed_cpus().size());
  const ServerProcess worker(
      command({python, "-m", "celery", "-A", "tasks", "worker", "--concurrency", processes, "--loglevel", "WARNING",
               "--without-gossip", "--without-mingle", "--without-heartbeat"}),
      scratch.path() + "/worker.log", [&] { return waits_for_tasks(server); });
  const Side producer = script_side(
      kName,
      command({python, sources + "/producer.py", std::to_string(work.tasks), std::to_string(work.payload_bytes)}),
      work.tasks);
  const Side consumer = [&]() -> std::function<void()> {
    auto redis = std::make_shared<RedisClient>(server.socket());
    return [&ledger, redis] {
      while (!ledger.is_full() || redis->command({"HLEN", "unacked"})->integer != 0) nap_us(2000);
    };
  };
  const PeerResult result = run_sides(kName, work, producer, consumer, kScriptDeadline);
  ledger.check_once();
  if (RedisClient(server.socket()).command({"LLEN", "celery"})->integer != 0)
    throw Failure("Celery: tasks are left in its queue");
  return result;
}

}  // namespace

std::vector<Peer> celery_peers() {
  Peer peer;
  peer.key = "celery";
  peer.name = kName;
  peer.how = "apply_async over one connection; a worker process for each core, prefetch 64, acks_late, no results";
  peer.missing = missing;
  peer.run = run;
  return {peer};
}

}  // namespace stem::bench
