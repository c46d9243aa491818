#include "tools/stem/observe/schedules.hpp"

#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "base/units.hpp"
#include "shm/death.hpp"
#include "tools/stem/schedule/schedule_rows.hpp"
#include "tools/stem/table.hpp"

namespace stem::cli {
namespace {

using nlohmann::ordered_json;
using shm::BeatCounter;

constexpr std::int64_t kOverdueNs = 1'000'000'000;

double add_histogram(const shm::BeatHistogram& from, base::HistogramSummary& into) {
  for (std::uint32_t i = 0; i < base::kHistogramBuckets; ++i) {
    into.counts[i] = from.counts[i].load(std::memory_order_relaxed);
    into.count += into.counts[i];
  }
  const auto sum = static_cast<double>(from.sum_ns.load(std::memory_order_relaxed));
  into.mean_ns = into.count == 0 ? 0 : sum / static_cast<double>(into.count);
  return sum;
}

std::string holder_of(const shm::Segment& segment, shm::BeatLockWord word) {
  if (word.owner() == 0 || word.owner() > segment.geometry().participant_count) return "";
  shm::RosterRow& row = segment.row(word.owner() - 1);
  const std::uint64_t status = row.status.load(std::memory_order_acquire);
  if ((shm::row_incarnation(status) & 0xfffff) != word.incarnation() ||
      shm::row_state(status) != shm::RowState::kLive || shm::signalled_dead(row))
    return "";
  return fmt::format("process {}", row.pid);
}

}  // namespace

BeatFigures beat_figures(const Attachment& attachment, std::int64_t realtime_ns) {
  BeatFigures figures;
  const shm::Segment& segment = attachment.segment();
  // A copy through the file: reading a hole through the mapping would give it memory.
  auto table = std::make_unique<shm::ScheduleTable>();
  if (segment.read(segment.layout().schedules, static_cast<void*>(table.get()), sizeof *table)) {
    for (std::uint32_t i = 0; i < shm::kBeatCounterCount; ++i)
      figures.counters[i] = table->counters[i].load(std::memory_order_relaxed);
    figures.drift_sum_ns = add_histogram(table->drift, figures.drift);
    figures.dispatch_sum_ns = add_histogram(table->dispatch, figures.dispatch);
    const shm::BeatLockWord lock(table->lock.load(std::memory_order_relaxed));
    figures.holder = holder_of(segment, lock);
    figures.token = lock.token();
  }
  figures.entries = beat::ScheduleStore(attachment.engine()).list();
  for (const auto& stored : figures.entries) {
    const auto next = next_fire_ns(stored, realtime_ns);
    if (!next || *next > realtime_ns) continue;
    ++figures.due;
    if (realtime_ns - *next > kOverdueNs) ++figures.overdue;
  }
  return figures;
}

std::string schedules_text(const Scene& scene) {
  const std::int64_t now_ns = Moment::now().to_realtime_ns(scene.now.at_ns);
  const BeatFigures figures = beat_figures(scene.attachment, now_ns);
  std::string out = fmt::format(
      "fired {}, due {}, overdue {}, drift p50 {} p99 {}; {}\n\n", figures[BeatCounter::kSuccess], figures.due,
      figures.overdue, figures.drift.count == 0 ? "-" : base::human_duration(figures.drift.percentile_ns(0.5)),
      figures.drift.count == 0 ? "-" : base::human_duration(figures.drift.percentile_ns(0.99)),
      figures.holder.empty() ? "nobody fires: 'stem beat start'" : fmt::format("{} fires", figures.holder));
  Table table({{"ID", Align::kLeft, true},
               {"TASK", Align::kLeft, true},
               {"QUEUE", Align::kLeft, true},
               {"NEXT", Align::kRight},
               {"LAST", Align::kRight},
               {"DRIFT", Align::kRight},
               {"FIRED", Align::kRight},
               {"SKIPPED", Align::kRight},
               {"FAILED", Align::kRight},
               {"LAST-ERROR"}});
  for (const auto& stored : figures.entries) {
    const std::string next = next_text(stored, now_ns);
    table.add_row({stored.entry.id,
                   stored.entry.task,
                   stored.entry.queue.empty() ? "default" : stored.entry.queue,
                   {next, next.ends_with("late") ? Tone::kWarn : Tone::kPlain},
                   last_text(stored, now_ns),
                   stored.figures.fired_at_ns == 0 ? "" : base::human_duration(stored.figures.drift_ns),
                   fmt::format("{}", stored.figures.fired),
                   fmt::format("{}", stored.figures.skipped),
                   {fmt::format("{}", stored.figures.failed), stored.figures.failed > 0 ? Tone::kWarn : Tone::kPlain},
                   stored.figures.last_status == engine::EnqueueStatus::kOk
                       ? ""
                       : engine::to_string(stored.figures.last_status)});
  }
  return table.empty() ? "no schedules yet\n" : out + table.render(scene.style, scene.width);
}

ordered_json schedules_json(const Scene& scene) {
  const std::int64_t now_ns = Moment::now().to_realtime_ns(scene.now.at_ns);
  const BeatFigures figures = beat_figures(scene.attachment, now_ns);
  const auto histogram = [](const base::HistogramSummary& h) -> ordered_json {
    if (h.count == 0) return {{"samples", 0}, {"p50Ns", nullptr}, {"p99Ns", nullptr}};
    return {{"samples", h.count}, {"p50Ns", h.percentile_ns(0.5)}, {"p99Ns", h.percentile_ns(0.99)}};
  };
  ordered_json rows = ordered_json::array();
  for (const auto& stored : figures.entries) rows.push_back(schedule_json(stored, now_ns));
  return {{"schedules", rows},
          {"holder", figures.holder.empty() ? ordered_json(nullptr) : ordered_json(figures.holder)},
          {"token", figures.token},
          {"due", figures.due},
          {"overdue", figures.overdue},
          {"drift", histogram(figures.drift)},
          {"dispatch", histogram(figures.dispatch)},
          {"counters",
           {{"attempts", figures[BeatCounter::kAttempts]},
            {"success", figures[BeatCounter::kSuccess]},
            {"failed", figures[BeatCounter::kFailed]},
            {"deduplicated", figures[BeatCounter::kDeduplicated]},
            {"skipped", figures[BeatCounter::kSkipped]},
            {"lost", figures[BeatCounter::kLost]},
            {"lockAcquired", figures[BeatCounter::kLockAcquired]},
            {"lockContention", figures[BeatCounter::kLockContended]},
            {"lockRenewFailed", figures[BeatCounter::kLockRenewFailed]}}}};
}

}  // namespace stem::cli
