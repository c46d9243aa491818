// stem-bench io: coroutine handlers and their operations, beside bare loops that do the same.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "base/clock.hpp"
#include "bench/command.hpp"
#include "bench/failure.hpp"
#include "bench/io_handlers.hpp"
#include "bench/io_loops.hpp"
#include "bench/io_places.hpp"
#include "bench/server_process.hpp"

namespace stem::bench {

namespace {

struct Options {
  std::uint32_t sleepers = 100'000;
  std::uint64_t operations = 300'000;  // reads, and requests
  std::uint64_t wakes = 1'000;
  std::string directory;  // of the file that is read; empty: the temporary directory
};

constexpr std::uint64_t kFileBytes = 64u << 20;
constexpr std::uint64_t kSwitches = 3'000'000;
constexpr std::int64_t kSleepNs = 300'000;

// In a process of its own, pinned.
double measured(int cpu, const std::function<double()>& body) {
  const Shared<double> value;
  run_processes({{cpu, [&] { *value = body(); }}});
  return *value;
}

// The bare one and ours in turn, each pair its own ratio.
struct Pairs {
  std::vector<double> bare, ours, ratio;

  void add(int run, const std::function<double()>& bare_one, const std::function<double()>& our_one) {
    double b = 0, o = 0;
    if (run % 2 == 0) b = bare_one();
    o = our_one();
    if (run % 2 != 0) b = bare_one();
    bare.push_back(b);
    ours.push_back(o);
    ratio.push_back(b > 0 ? o / b : 0);
  }
};

std::vector<Column> pair_columns(Unit unit) {
  return {{"bare", "bare", unit},
          {"ours", "by coroutines", unit},
          {"ratio", "÷ bare", Unit::kRatio},
          {"ratio_min", "least", Unit::kRatio},
          {"ratio_max", "most", Unit::kRatio}};
}

Row pair_row(const char* key, const std::string& label, const Pairs& pairs) {
  const Spread ratio = spread_of(pairs.ratio);
  return {key, label, {spread_of(pairs.bare).median, spread_of(pairs.ours).median, ratio.median, ratio.min, ratio.max}};
}

std::string make_file(const std::string& directory) {
  const std::string path = directory + "/blocks";
  const OpenFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  const std::vector<char> megabyte(1u << 20, 'x');
  for (std::uint64_t done = 0; done < kFileBytes; done += megabyte.size())
    if (::write(file.get(), megabyte.data(), megabyte.size()) != static_cast<ssize_t>(megabyte.size()))
      fail_with_errno("write " + path);
  if (::fsync(file.get()) != 0) fail_with_errno("fsync " + path);
  return path;
}

// The ringer sleeps between two rings, so that the other has parked.
double wake_p50_ns(CpuPair cpus, std::uint64_t wakes, void (*waits)(int, const std::function<bool()>&)) {
  struct Area {
    std::atomic<std::int64_t> rung_ns{0};
    std::atomic<std::uint64_t> taken{0};
  };
  const Shared<Area> area;
  const OpenFd bell(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  SharedMemory memory(wakes * sizeof(std::uint64_t));
  const std::span<std::uint64_t> ns(static_cast<std::uint64_t*>(memory.data()), wakes);
  run_pair(
      cpus,
      [&] {
        std::uint64_t taken = 0;
        waits(bell.get(), [&] {
          ns[taken] = static_cast<std::uint64_t>(base::monotonic_ns() - area->rung_ns.load(std::memory_order_acquire));
          area->taken.store(++taken, std::memory_order_release);
          return taken < wakes;
        });
      },
      [&] {
        for (std::uint64_t i = 0; i < wakes; ++i) {
          while (area->taken.load(std::memory_order_acquire) != i) cpu_relax();
          ::usleep(300);
          area->rung_ns.store(base::monotonic_ns(), std::memory_order_release);
          const std::uint64_t one = 1;
          if (::write(bell.get(), &one, sizeof one) != sizeof one) fail_with_errno("ring");
        }
      });
  return percentiles_of_ns(ns).p50_ns;
}

double late_p50_ns(int cpu, std::uint64_t sleeps, void (*sleep)(std::int64_t, std::span<std::uint64_t>)) {
  return measured(cpu, [&] {
    std::vector<std::uint64_t> late(sleeps);
    sleep(kSleepNs, late);
    return percentiles_of_ns(late).p50_ns;
  });
}

Table rates(Session& session, const Options& options, const std::string& path) {
  const int cpu = session.cpus.first;
  Pairs cached, direct, echo;
  ReadPlan plan{.path = path, .file_bytes = kFileBytes, .reads = options.operations};
  ReadPlan device = plan;
  device.direct = true;
  device.reads = options.operations / 10 + 64;
  bool has_direct = true;
  if (const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC); fd >= 0)
    ::close(fd);
  else
    has_direct = false;
  const EchoPlan pairs{.requests = options.operations};
  for (int run = 0; run < session.runs; ++run) {
    const auto both = [&](Pairs& into, auto bare, auto ours, const auto& what) {
      into.add(
          run, [&] { return measured(cpu, [&] { return bare(what); }); },
          [&] { return measured(cpu, [&] { return ours(what); }); });
    };
    both(cached, bare_reads, coroutine_reads, plan);
    if (has_direct) both(direct, bare_reads, coroutine_reads, device);
    both(echo, bare_echo, coroutine_echo, pairs);
    session.progress(fmt::format("run {}/{}: rates", run + 1, session.runs));
  }
  Table table{
      "rates", "Operations of one thread, 64 reads or 32 connections at once", pair_columns(Unit::kPerSecond), {}};
  table.rows.push_back(pair_row("reads_cached", "reads of 4 KiB, from the page cache", cached));
  if (has_direct) table.rows.push_back(pair_row("reads_direct", "reads of 4 KiB, O_DIRECT", direct));
  table.rows.push_back(pair_row("echo", "echo of 64 bytes, both ends", echo));
  return table;
}

Table times(Session& session, const Options& options) {
  const int cpu = session.cpus.first;
  Pairs call, yielding, wake, late, start;
  for (int run = 0; run < session.runs; ++run) {
    const auto alone = [&](double (*one)(std::uint64_t)) {
      return [=] { return measured(cpu, [=] { return one(kSwitches); }); };
    };
    call.add(run, alone(plain_call_ns), alone(coroutine_call_ns));
    yielding.add(run, alone(bare_switch_ns), alone(yield_ns));
    wake.add(
        run, [&] { return wake_p50_ns(session.cpus, options.wakes, bare_waits); },
        [&] { return wake_p50_ns(session.cpus, options.wakes, coroutine_waits); });
    late.add(
        run, [&] { return late_p50_ns(cpu, options.wakes, bare_sleeps); },
        [&] { return late_p50_ns(cpu, options.wakes, coroutine_sleeps); });
    const auto start_p50 = [&](HandlerKind kind) {
      return [&session, &options, kind] {
        SharedMemory memory(options.wakes * sizeof(std::uint64_t));
        const std::span<std::uint64_t> ns(static_cast<std::uint64_t*>(memory.data()), options.wakes);
        // Not pinned: the worker that it forks goes to the other core.
        run_processes({{kAnyCpu, [&] {
                          const auto taken = parked_start_times(session.cpus, kind, options.wakes);
                          std::copy(taken.begin(), taken.end(), ns.begin());
                        }}});
        return percentiles_of_ns(ns).p50_ns;
      };
    };
    start.add(run, start_p50(HandlerKind::kPlain), start_p50(HandlerKind::kCoroutine));
    session.progress(fmt::format("run {}/{}: times", run + 1, session.runs));
  }
  Table table{"times", "Times, p50", pair_columns(Unit::kNanoseconds), {}};
  table.rows.push_back(pair_row("call", "a coroutine that returns at once, beside new, call and delete", call));
  table.rows.push_back(pair_row("yield", "yield through the loop, beside a bare resume", yielding));
  table.rows.push_back(pair_row("wake", "eventfd to the waiting coroutine, parked", wake));
  table.rows.push_back(pair_row("sleep_late", "end of a sleep of 300 µs, too late by", late));
  table.rows.push_back(pair_row("start", "enqueue to handler, worker parked, beside a plain handler", start));
  return table;
}

Table memory(Session& session, const Options& options) {
  std::vector<double> own, frames, total, over;
  for (int run = 0; run < session.runs; ++run) {
    const SleepersMemory one = sleepers_memory(options.sleepers);
    own.push_back(one.own_frame_bytes);
    frames.push_back(one.all_frame_bytes);
    total.push_back(one.private_bytes);
    over.push_back(one.over_frame_bytes());
    session.progress(fmt::format("run {}/{}: sleepers", run + 1, session.runs));
  }
  Table table{"memory",
              fmt::format("Memory of one worker process with {} sleeping handlers, for each", options.sleepers),
              spread_columns("bytes", "bytes", Unit::kBytes),
              {}};
  table.rows.push_back({"own_frame", "the handler's own frame", spread_cells(spread_of(own))});
  table.rows.push_back({"all_frames", "all frames", spread_cells(spread_of(frames))});
  table.rows.push_back({"private", "private memory in all", spread_cells(spread_of(total))});
  table.rows.push_back({"over_frame", "in all, over its own frame", spread_cells(spread_of(over))});
  return table;
}

void run(Session& session, const Options& options) {
  Report& report = session.report;
  report.settings.emplace_back("operations", fmt::format("{} a run", options.operations));
  const TemporaryDirectory temporary;
  const std::string directory = options.directory.empty() ? temporary.path() : options.directory;
  const std::string path = make_file(directory);
  report.tables.push_back(rates(session, options, path));
  report.tables.push_back(times(session, options));
  report.tables.push_back(memory(session, options));
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
  report.notes.push_back(
      "Bare: a loop written for this one purpose with liburing, with the same ring flags and depth. A ratio is that of "
      "two measurements next to each other; median, least and most of the runs. Echo: client and server ends of Unix "
      "socket pairs on one thread. Memory: private pages of the worker process (RssAnon), before and with all asleep.");
}

}  // namespace

CommandBody declare_io(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("--sleepers", options->sleepers, "handlers asleep at once")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  app.add_option("--operations", options->operations, "reads, and requests, of each run")
      ->check(CLI::Range(1'000, 100'000'000))
      ->capture_default_str();
  app.add_option("--wakes", options->wakes, "wake-ups of each run")
      ->check(CLI::Range(10, 100'000))
      ->capture_default_str();
  app.add_option("--directory", options->directory, "where the file is made that is read (default: the temporary one)");
  return [options](Session& session) { run(session, *options); };
}

}  // namespace stem::bench
