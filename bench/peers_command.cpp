// stem-bench peers: the same work through every queue that is installed here, in turn, `--runs` times.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "bench/command.hpp"
#include "bench/failure.hpp"
#include "bench/measure.hpp"
#include "bench/peer.hpp"

namespace stem::bench {

std::vector<Peer> all_peers() {
  std::vector<Peer> peers = stem_subjects();
  for (Peer& peer : federation_subjects()) peers.push_back(std::move(peer));
  for (Peer& peer : redis_peers()) peers.push_back(std::move(peer));
  for (Peer& peer : beanstalkd_peers()) peers.push_back(std::move(peer));
  for (Peer& peer : bullmq_peers()) peers.push_back(std::move(peer));
  for (Peer& peer : celery_peers()) peers.push_back(std::move(peer));
  return peers;
}

namespace {

struct Options {
  Work work;
  std::vector<std::string> only;
};

// Whose rate the others are divided by, one column each.
struct Baseline {
  const char* key;
  const char* heading;
};
constexpr Baseline kBaselines[] = {
    {"redis_lists_100", "× Redis lists"},
    {"redis_plain_100", "× plain list"},
    {"redis_streams_100", "× Streams"},
    {"beanstalkd_100", "× beanstalkd"},
    {"bullmq", "× BullMQ"},
    {"celery", "× Celery"},
};

using Rates = std::map<std::string, std::vector<double>>;  // key -> tasks/s of each run

std::vector<Peer> chosen_peers(const Options& options, Report& report) {
  std::vector<Peer> chosen;
  for (Peer& peer : all_peers()) {
    if (!options.only.empty() && std::find(options.only.begin(), options.only.end(), peer.key) == options.only.end()) {
      continue;
    }
    const std::string missing = peer.missing ? peer.missing() : std::string();
    if (!missing.empty()) {
      report.notes.push_back(fmt::format("Not measured: {} ({}).", peer.name, missing));
      continue;
    }
    chosen.push_back(std::move(peer));
  }
  if (chosen.empty()) throw Failure("none of the peers is installed (redis-server, beanstalkd)");
  return chosen;
}

// Everything once per run, in turn, so that a drift of the machine meets all alike.
Rates measure(const Session& session, const Options& options, const std::vector<Peer>& peers) {
  Work work = options.work;
  work.cpus = session.cpus;
  Rates rates;
  for (int run = 0; run < session.runs; ++run) {
    for (const Peer& peer : peers) {
      const PeerResult result = peer.run(work);
      rates[peer.key].push_back(result.tasks_per_s);
      session.progress(fmt::format("run {}/{}: {}: {}", run + 1, session.runs, peer.name,
                                   format_value(result.tasks_per_s, Unit::kPerSecond)));
    }
  }
  return rates;
}

// The median of the runs' ratios: both halves of a ratio come from the same run.
double ratio_to(const Rates& rates, const std::string& key, const char* baseline) {
  const std::vector<double>& above = rates.at(key);
  const std::vector<double>& below = rates.at(baseline);
  std::vector<double> ratios;
  for (std::size_t run = 0; run < above.size(); ++run) ratios.push_back(above[run] / below[run]);
  return spread_of(std::move(ratios)).median;
}

Table table_of(const std::vector<Peer>& peers, const Rates& rates) {
  Table table{"peers",
              "The same work, one producer process and one consumer process",
              spread_columns("tasks_per_s", "tasks/s", Unit::kPerSecond),
              {}};
  for (const Baseline& baseline : kBaselines) {
    if (!rates.contains(baseline.key)) continue;
    table.columns.push_back({fmt::format("ratio_{}", baseline.key), baseline.heading, Unit::kRatio});
  }
  table.columns.push_back({"acknowledged", "ack", Unit::kText});
  for (const Peer& peer : peers) {
    std::vector<Cell> cells = spread_cells(spread_of(rates.at(peer.key)));
    for (const Baseline& baseline : kBaselines) {
      if (rates.contains(baseline.key)) cells.emplace_back(ratio_to(rates, peer.key, baseline.key));
    }
    cells.emplace_back(std::string(peer.acknowledges ? "yes" : "no"));
    table.rows.push_back({peer.key, peer.name, std::move(cells)});
  }
  return table;
}

Plot picture(const Report& report, const std::vector<Peer>& peers, const Rates& rates, const Options& options) {
  Plot plot;
  plot.title = fmt::format("{} tasks of {} bytes, producer process to consumer process", options.work.tasks,
                           options.work.payload_bytes);
  plot.subtitle = fmt::format("{} · {}", report.command_line, report.machine.front().value);
  plot.value_label = "tasks per second (whiskers: least and most of the runs)";
  plot.value_unit = Unit::kPerSecond;
  plot.log_value = true;
  for (const Peer& peer : peers) {
    plot.bars.push_back(
        {peer.name + (peer.acknowledges ? "" : " (no ack)"), spread_of(rates.at(peer.key)), peer.is_subject});
  }
  std::stable_sort(plot.bars.begin(), plot.bars.end(),
                   [](const PlotBar& a, const PlotBar& b) { return a.value.median > b.value.median; });
  return plot;
}

void run(Session& session, const Options& options) {
  Report& report = session.report;
  report.settings.emplace_back("tasks", std::to_string(options.work.tasks));
  report.settings.emplace_back("payload_bytes", std::to_string(options.work.payload_bytes));
  report.settings.emplace_back("pinned", options.work.pin ? "yes" : "no");
  const std::vector<Peer> peers = chosen_peers(options, report);
  const Rates rates = measure(session, options, peers);
  report.tables.push_back(table_of(peers, rates));
  for (const Peer& peer : peers) report.notes.push_back(fmt::format("{}: {}.", peer.name, peer.how));
  report.notes.push_back("Every task came exactly once with its own bytes, and each queue was empty afterwards.");
  report.plot = picture(report, peers, rates, options);
}

}  // namespace

CommandBody declare_peers(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("--tasks", options->work.tasks, "tasks of each run, for every peer the same")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 32))
      ->capture_default_str();
  app.add_option("--payload-bytes", options->work.payload_bytes, "bytes of each task")
      ->check(CLI::Range(kLeastPayloadBytes, std::uint32_t{1} << 20))
      ->capture_default_str();
  std::vector<std::string> keys;
  for (const Peer& peer : all_peers()) keys.push_back(peer.key);
  app.add_option("--only", options->only, "measure this one only (repeat)")->check(CLI::IsMember(keys));
  app.add_flag("--pin", options->work.pin, "pin producer and consumer of the peers (the server floats)");
  return [options](Session& session) { run(session, *options); };
}

}  // namespace stem::bench
