// stem-bench journal: queues that survive the host, each figure beside the bare disk or a peer in the same run.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "bench/command.hpp"
#include "bench/failure.hpp"
#include "bench/journal.hpp"
#include "bench/server_process.hpp"
#include "engine/run.hpp"

namespace stem::bench {

namespace {

struct Options {
  std::string directory;
  std::uint64_t appends = 1'000'000;
  FlowWork flow;
  std::uint64_t paced = 100'000;
  std::uint64_t syncs = 1'000;
  std::uint64_t live_tasks = 1'000'000;
  std::uint64_t peer_tasks = 50'000;
  std::vector<std::string> only;

  bool wants(const char* figure) const {
    return only.empty() || std::find(only.begin(), only.end(), figure) != only.end();
  }
};

constexpr const char* kFigures[] = {"append", "append_one", "flow",  "flow_one", "latency",
                                    "sync",   "recovery",   "peers", "producers"};
constexpr double kPaceNs = 10'000;
constexpr std::uint32_t kManyProducers = 32;
constexpr std::uint64_t kMostFloorBytes = 512u << 20;
// What a task needs in the journal at least: its image and its end, each with its header (docs/journal.md).
constexpr double kTaskRecordBytes = 8 + 16 + 32 + 24;
constexpr double kEndRecordBytes = 8 + 16;
constexpr double kRunRecordBytes = 8 + 16 + 24;
constexpr double kRunTasks = 15;  // and a byte for each

// Of one task; its end is that of its run.
double record_bytes(std::uint32_t payload_bytes, bool one_by_one, bool with_end) {
  const double end = with_end ? kEndRecordBytes : 0;
  if (one_by_one || payload_bytes > engine::kRunItemBytes) return kTaskRecordBytes + payload_bytes + end;
  return (kRunRecordBytes + end) / kRunTasks + 1 + payload_bytes;
}

// One row: a value of each run, and what stood beside it.
struct Figure {
  std::string label, floor_name, goal;
  Unit unit = Unit::kCount;
  std::vector<double> subject, floor, ratio;

  void add(double one, double beside) {
    subject.push_back(one);
    floor.push_back(beside);
    ratio.push_back(one / beside);
  }
};

class Figures {
 public:
  Figure& of(const std::string& key) {
    if (!rows_.contains(key)) order_.push_back(key);
    return rows_[key];
  }
  // As of(), named the first time.
  Figure& of(const std::string& key, const char* label, const char* floor_name, const char* goal, Unit unit) {
    Figure& figure = of(key);
    figure.label = label;
    figure.floor_name = floor_name;
    figure.goal = goal;
    figure.unit = unit;
    return figure;
  }
  const std::vector<std::string>& order() const noexcept { return order_; }
  const Figure& at(const std::string& key) const { return rows_.at(key); }

 private:
  std::map<std::string, Figure> rows_;
  std::vector<std::string> order_;
};

// Tasks per second against what the bare disk would do of the same bytes in writes of the same size; the disk's bytes per
// second.
double add_rate(Figure& figure, const Options& options, const JournalFlow& flow, std::uint64_t tasks,
                Blocks blocks = Blocks::kWritten) {
  if (flow.use.writes == 0) throw Failure("nothing went to disk: more tasks, please");
  const std::uint64_t each = flow.use.bytes / flow.use.writes;
  const double disk =
      bare_append_bytes_per_s(options.directory, each, std::min(flow.use.bytes, kMostFloorBytes), blocks);
  figure.add(flow.tasks_per_s, disk / (static_cast<double>(flow.use.bytes) / static_cast<double>(tasks)));
  return disk;
}

void measure_append(const Options& options, Figures& figures, bool one_by_one) {
  const std::uint32_t payload = options.flow.payload_bytes;
  const JournalFlow flow =
      append_rate(options.directory, options.appends, payload, one_by_one ? 1 : options.flow.batch);
  const std::string key = one_by_one ? "append_one" : "append";
  const double disk = add_rate(figures.of(key,
                                          one_by_one ? "enqueued one by one, journal mode, a new journal"
                                                     : "enqueued in batches, journal mode, a new journal",
                                          "bare io_uring, the same writes", "≥ 0.8", Unit::kPerSecond),
                               options, flow, options.appends);
  (void)add_rate(
      figures.of(key + "_grows", "  the same", "bare io_uring, a file that grows", "≥ 0.8", Unit::kPerSecond), options,
      flow, options.appends, Blocks::kNew);
  const auto written = static_cast<double>(flow.use.bytes + flow.use.zero_bytes);
  figures.of(key + "_zeros", "  bytes per task, with the zeros of new files", "its records", "", Unit::kBytes)
      .add(written / static_cast<double>(options.appends), record_bytes(payload, one_by_one, /*with_end=*/false));
  // Near 1 the disk has no more to give.
  figures.of(key + "_disk", "  bytes to disk, with these zeros", "bare io_uring, the same writes", "", Unit::kPerSecond)
      .add(written / flow.seconds, disk);
}

void measure_flow(const Options& options, Figures& figures, bool one_by_one) {
  FlowWork work = options.flow;
  if (one_by_one) work.batch = 1;
  const JournalFlow flow = flow_rate(options.directory, work);
  const std::string key = one_by_one ? "flow_one" : "flow";
  const double disk = add_rate(figures.of(key,
                                          one_by_one ? "enqueued one by one and run, steady backlog"
                                                     : "enqueued in batches and run, steady backlog",
                                          "bare io_uring, the same writes", "≥ 0.8", Unit::kPerSecond),
                               options, flow, work.tasks);
  const double each = static_cast<double>(flow.use.bytes + flow.use.zero_bytes) / static_cast<double>(work.tasks);
  const double records = record_bytes(work.payload_bytes, one_by_one, /*with_end=*/true);
  figures.of(key + "_all", "  the same", "bare io_uring, every task's records", "", Unit::kPerSecond)
      .add(flow.tasks_per_s, disk / records);
  figures.of(key + "_amplification", "  bytes to disk per task", "its records", "≤ 2.5", Unit::kBytes)
      .add(each, records);
  figures.of(key + "_payload", "  bytes to disk per task", "its payload", "", Unit::kBytes)
      .add(each, work.payload_bytes);
  figures.of(key + "_write", "  bytes of a write", "a block", "", Unit::kBytes)
      .add(static_cast<double>(flow.use.bytes) / static_cast<double>(flow.use.writes), 4096);
}

void measure_latency(const Options& options, Figures& figures) {
  const auto times = [&](shm::Durability durability) {
    return enqueue_times(options.directory, durability, options.paced, kPaceNs);
  };
  const Percentiles memory = times(shm::Durability::kMemory);
  const Percentiles journal = times(shm::Durability::kJournal);
  figures.of("enqueue_p50", "enqueue, journal mode, p50", "memory mode, p50", "", Unit::kNanoseconds)
      .add(journal.p50_ns, memory.p50_ns);
  figures.of("enqueue_p99", "enqueue, journal mode, p99", "memory mode, p99", "≤ 2", Unit::kNanoseconds)
      .add(journal.p99_ns, memory.p99_ns);
}

void measure_sync(const Options& options, Figures& figures) {
  const Percentiles fdatasync = fdatasync_times(options.directory, options.syncs);
  const Percentiles sync = enqueue_times(options.directory, shm::Durability::kSync, options.syncs, 0);
  const Percentiles direct = bare_append_times(options.directory, options.syncs);
  figures.of("sync_p50", "enqueue, sync mode, p50", "fdatasync of 4 KiB, p50", "≤ 1.2", Unit::kNanoseconds)
      .add(sync.p50_ns, fdatasync.p50_ns);
  figures.of("sync_direct", "enqueue, sync mode, p50", "4 KiB, O_DIRECT|O_DSYNC, p50", "", Unit::kNanoseconds)
      .add(sync.p50_ns, direct.p50_ns);
  const SharedCommits one = sync_rate(options.directory, 1, options.syncs);
  const SharedCommits many =
      sync_rate(options.directory, kManyProducers, std::max<std::uint64_t>(options.syncs / 4, 1));
  figures.of("shared", "sync mode, 32 producers", "1 producer", "≥ 10", Unit::kPerSecond)
      .add(many.tasks_per_s, one.tasks_per_s);
  figures.of("shared_writes", "  tasks per write", "1 producer", "", Unit::kCount)
      .add(many.tasks_per_write, one.tasks_per_write);
}

void measure_recovery(const Options& options, Figures& figures) {
  const JournalRecovery back = recover(options.directory, options.live_tasks, options.flow.payload_bytes);
  const double seconds_ns = back.ready_s * 1e9;
  figures.of("recovery", "recovery until new tasks are taken", "2 s", "≤ 1", Unit::kNanoseconds).add(seconds_ns, 2e9);
  figures.of("recovery_restored", "  until all are restored", "2 s", "", Unit::kNanoseconds)
      .add(back.opened_s * 1e9, 2e9);
  figures.of("recovery_bytes", "  bytes of journal a second", "1 GB/s", "or ≥ 1", Unit::kBytes)
      .add(back.bytes / back.ready_s, 1e9);
  figures.of("recovery_writes", "  writes meanwhile", "1", "", Unit::kCount)
      .add(static_cast<double>(back.use.writes), 1);
}

// Many producers, each of which waits for the disk with its batch, and one consumer: `sync` beside AOF always.
void measure_producers(const Session& session, const Options& options, Figures& figures) {
  constexpr std::pair<std::uint32_t, std::uint32_t> kShapes[] = {{1, 1}, {32, 1}, {8, 100}, {32, 100}};
  const Peer stem = stem_with_journal(options.directory, shm::Durability::kSync);
  const Peer redis = redis_aof(options.directory, "always");
  if (!redis.missing().empty()) return;
  for (const auto& [producers, batch] : kShapes) {
    Work work;
    work.payload_bytes = options.flow.payload_bytes;
    work.cpus = session.cpus;
    work.producers = producers;
    work.batch = batch;
    // One by one each costs a commit.
    work.tasks = std::max<std::uint64_t>(options.peer_tasks / (batch == 1 ? 50 : 1), producers);
    const double subject = stem.run(work).tasks_per_s;
    Figure& figure = figures.of(fmt::format("producers_{}_{}", producers, batch));
    figure.label = fmt::format("Stem, sync, {} producers, by {}", producers, batch);
    figure.floor_name = redis.name;
    figure.goal = "≥ 10";
    figure.unit = Unit::kPerSecond;
    figure.add(subject, redis.run(work).tasks_per_s);
  }
}

// Each of Stem's two ways beside the peers that promise as much.
void measure_peers(const Session& session, const Options& options, Figures& figures, Report& report) {
  Work work;
  work.tasks = options.peer_tasks;
  work.payload_bytes = options.flow.payload_bytes;
  work.cpus = session.cpus;
  const Peer* subject = nullptr;
  double rate = 0;
  const std::vector<Peer> peers = durable_peers(options.directory);
  for (const Peer& peer : peers) {
    if (const std::string missing = peer.missing(); !missing.empty()) {
      const std::string note = fmt::format("Not measured: {} ({}).", peer.name, missing);
      if (std::find(report.notes.begin(), report.notes.end(), note) == report.notes.end()) report.notes.push_back(note);
      continue;
    }
    const double tasks_per_s = peer.run(work).tasks_per_s;
    if (peer.is_subject) {
      subject = &peer;
      rate = tasks_per_s;
      continue;
    }
    figures.of("peer_" + peer.key, subject->name.c_str(), peer.name.c_str(), "≥ 10", Unit::kPerSecond)
        .add(rate, tasks_per_s);
  }
}

Table table_of(const Figures& figures) {
  Table table{"journal",
              "Beside the disk itself, or a peer on the same disk (medians of the runs)",
              {{"subject", "measured", Unit::kText},
               {"floor_name", "beside", Unit::kText},
               {"floor", "of", Unit::kText},
               {"ratio", "ratio", Unit::kRatio},
               {"ratio_least", "least", Unit::kRatio},
               {"ratio_most", "most", Unit::kRatio},
               {"goal", "goal", Unit::kText}},
              {}};
  for (const std::string& key : figures.order()) {
    const Figure& f = figures.at(key);
    const Spread ratio = spread_of(f.ratio);
    table.rows.push_back(
        {key,
         f.label,
         {format_value(spread_of(f.subject).median, f.unit), f.floor_name,
          format_value(spread_of(f.floor).median, f.unit), ratio.median, ratio.min, ratio.max, f.goal}});
  }
  return table;
}

void run(Session& session, const Options& given) {
  Options options = given;
  const TemporaryDirectory disk(given.directory);
  options.directory = disk.path();
  Report& report = session.report;
  report.settings.emplace_back("file system", disk_of(options.directory));
  report.settings.emplace_back("payload_bytes", std::to_string(options.flow.payload_bytes));
  Figures figures;
  for (int i = 0; i < session.runs; ++i) {
    const auto figure = [&](const char* name, const auto& measure) {
      if (!options.wants(name)) return;
      measure();
      session.progress(fmt::format("run {}/{}: {}", i + 1, session.runs, name));
    };
    figure("append", [&] { measure_append(options, figures, /*one_by_one=*/false); });
    figure("append_one", [&] { measure_append(options, figures, /*one_by_one=*/true); });
    figure("flow", [&] { measure_flow(options, figures, /*one_by_one=*/false); });
    figure("flow_one", [&] { measure_flow(options, figures, /*one_by_one=*/true); });
    figure("latency", [&] { measure_latency(options, figures); });
    figure("sync", [&] { measure_sync(options, figures); });
    figure("recovery", [&] { measure_recovery(options, figures); });
    figure("peers", [&] { measure_peers(session, options, figures, report); });
    figure("producers", [&] { measure_producers(session, options, figures); });
  }
  report.tables.push_back(table_of(figures));
  report.notes.push_back(
      "New files are filled with zeros in the time that the writer leaves: what was written is in the figures.");
  report.notes.push_back(
      "Of a task that came and went between two looks nothing is written, so bytes per task may lie below its "
      "records.");
}

}  // namespace

CommandBody declare_journal(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("--directory", options->directory, "where the journals lie, on a disk (default: $TMPDIR or /tmp)")
      ->check(CLI::ExistingDirectory);
  const auto count = [&](const char* name, std::uint64_t& value, const char* what, std::uint64_t least,
                         std::uint64_t most) {
    app.add_option(name, value, what)->check(CLI::Range(least, most))->capture_default_str();
  };
  count("--appends", options->appends, "tasks of append", 1000, 8u << 20);
  count("--tasks", options->flow.tasks, "tasks of flow", 10'000, std::uint64_t{1} << 32);
  count("--warm-up", options->flow.warm_up, "tasks of flow before it is measured, until files are recycled", 0,
        std::uint64_t{1} << 32);
  app.add_option("--backlog", options->flow.backlog, "tasks of flow that wait all the time")
      ->check(CLI::Range(1u, 1u << 20))
      ->capture_default_str();
  app.add_option("--batch", options->flow.batch, "tasks enqueued at once, of append and flow")
      ->check(CLI::Range(2u, 1024u))
      ->capture_default_str();
  app.add_option("--payload-bytes", options->flow.payload_bytes, "bytes of each task of append, flow, recovery, peers")
      ->check(CLI::Range(kLeastPayloadBytes, 1u << 16))
      ->capture_default_str();
  count("--paced", options->paced, "calls of latency, one each 10 µs", 100, 10'000'000);
  count("--syncs", options->syncs, "tasks of sync, one after another", 10, 1'000'000);
  count("--live-tasks", options->live_tasks, "tasks to bring back", 1, 8u << 20);
  count("--peer-tasks", options->peer_tasks, "tasks of each peer", 100, 8u << 20);
  app.add_option("--only", options->only, "measure this figure only (repeat)")
      ->check(CLI::IsMember(std::vector<std::string>(std::begin(kFigures), std::end(kFigures))));
  return [options](Session& session) { run(session, *options); };
}

}  // namespace stem::bench
