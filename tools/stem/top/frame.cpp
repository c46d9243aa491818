#include "tools/stem/top/frame.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/units.hpp"
#include "tools/stem/observe/reports.hpp"
#include "tools/stem/segment/usage.hpp"
#include "tools/stem/table.hpp"
#include "tools/stem/top/histogram.hpp"
#include "tools/stem/when.hpp"

namespace stem::cli {
namespace {

constexpr std::size_t kBarCells = 8;
constexpr std::size_t kSections = 3;
constexpr std::size_t kMostSteps = 24;  // lines of a histogram, as a rule

std::vector<std::string> split_lines(const std::string& text) {
  std::vector<std::string> lines;
  std::size_t begin = 0;
  while (begin < text.size()) {
    const std::size_t end = text.find('\n', begin);
    lines.push_back(text.substr(begin, end - begin));
    if (end == std::string::npos) break;
    begin = end + 1;
  }
  return lines;
}

// Which rows of a list are shown.
struct Window {
  std::size_t begin = 0, end = 0;
};

// Rows for each section: as many as it has, or a fair share of the room when that is too many.
std::vector<std::size_t> share_out(std::vector<std::size_t> wanted, std::size_t room) {
  std::vector<std::size_t> given(wanted.size(), 0);
  while (room > 0) {
    bool any = false;
    for (std::size_t i = 0; i < wanted.size() && room > 0; ++i) {
      if (given[i] == wanted[i]) continue;
      ++given[i];
      --room;
      any = true;
    }
    if (!any) break;
  }
  return given;
}

Window window_around(std::size_t selected, std::size_t count, std::size_t rows) {
  if (rows >= count) return {0, count};
  const std::size_t begin = selected < rows ? 0 : std::min(selected - rows + 1, count - rows);
  return {begin, begin + rows};
}

Tone tone_of(std::string_view worker_state) {
  if (worker_state == "dead") return Tone::kBad;
  if (worker_state == "busy") return Tone::kGood;
  return worker_state == "idle" ? Tone::kDim : Tone::kWarn;
}

class Frame {
 public:
  explicit Frame(const FrameInput& in)
      : in_(in),
        queues_(queue_figures(in.before, in.now)),
        order_(fullest_first(in.now.queues)),
        workers_(worker_figures(in.before, in.now, in.attachment.segment())),
        tasks_(task_figures(in.before, in.now)) {
    // A task name that never ran says nothing.
    std::erase_if(tasks_, [](const TaskFigures& t) { return t.count == 0; });
    std::stable_sort(tasks_.begin(), tasks_.end(),
                     [](const TaskFigures& a, const TaskFigures& b) { return a.rate > b.rate; });
  }

  std::vector<std::string> lines() {
    const std::size_t frame = 2 + 2 * kSections;  // head, bottom, column names, lines between
    std::vector<std::size_t> rows{queues_.size(), workers_.size(), tasks_.size()};
    if (in_.below == Below::kTimes) rows[1] = kMostSteps;
    if (in_.below == Below::kLimits && in_.limits != nullptr) rows[1] = in_.limits->size();
    if (in_.below != Below::kWorkersAndTasks) rows[2] = 0;
    if (in_.height > 0) rows = share_out(rows, in_.height > frame ? in_.height - frame : 0);
    head();
    const auto at = std::find(order_.begin(), order_.end(), in_.selected) - order_.begin();
    add(queues(window_around(static_cast<std::size_t>(at), queues_.size(), rows[0])), queues_.size(), rows[0]);
    switch (in_.below) {
      case Below::kTimes: times(); break;
      case Below::kLimits: limits(rows[1] + rows[2]); break;
      case Below::kWorkersAndTasks:
        add(workers({0, rows[1]}), workers_.size(), rows[1]);
        add(tasks({0, rows[2]}), tasks_.size(), rows[2]);
    }
    if (in_.interactive) bottom();
    return std::move(lines_);
  }

 private:
  void head() {
    const shm::Segment& segment = in_.attachment.segment();
    const auto busy =
        std::count_if(workers_.begin(), workers_.end(), [](const WorkerFigures& w) { return w.state == "busy"; });
    double in = 0;
    double out = 0;
    for (const QueueFigures& q : queues_) {
      in += q.rate_in;
      out += q.rate_out;
    }
    const std::string clock = write_time(Moment::now().to_realtime_ns(in_.now.at_ns)).substr(11, 8);
    const std::string text =
        fmt::format("stem top  {}  {}Z  {}/s in, {}/s out  {} of {} workers busy  {}", segment.name_space(), clock,
                    rate_text(in), rate_text(out), busy, workers_.size(), base::human_size(segment.used_bytes()));
    lines_.push_back(in_.style.paint(Tone::kBold, shortened(text, in_.width)));
    lines_.emplace_back();
  }

  // The line below a section says how many rows did not fit.
  void add(const std::string& text, std::size_t count, std::size_t shown) {
    for (std::string& line : split_lines(text)) lines_.push_back(std::move(line));
    lines_.push_back(shown < count ? in_.style.paint(Tone::kDim, fmt::format("  … {} more", count - shown)) : "");
  }

  std::string queues(Window window) {
    // Full is the limit of a queue that has one, and the deepest queue of all for the others.
    std::uint64_t deepest = 1;
    for (const QueueFigures& q : queues_) deepest = std::max(deepest, q.ready);
    Table table({{"QUEUE", Align::kLeft, true},
                 {"DEPTH"},
                 {"READY", Align::kRight},
                 {"DELAYED", Align::kRight},
                 {"INFLIGHT", Align::kRight},
                 {"DLQ", Align::kRight},
                 {"IN/s", Align::kRight},
                 {"OUT/s", Align::kRight},
                 {"LAG-P99", Align::kRight}});
    for (std::size_t i = window.begin; i < window.end; ++i) {
      const QueueFigures& q = queues_[order_[i]];
      const bool selected = in_.interactive && order_[i] == in_.selected;
      const std::uint64_t full = q.max_length > 0 ? q.max_length : deepest;
      const double share = static_cast<double>(q.ready) / static_cast<double>(full);
      const Tone tone = q.max_length > 0 && share > 0.8 ? Tone::kBad : Tone::kGood;
      table.add_row({{(selected ? "> " : "  ") + q.name, selected ? Tone::kBold : Tone::kPlain},
                     q.paused ? Cell("paused", Tone::kWarn) : Cell(bar(share, kBarCells), tone),
                     base::human_count(q.ready),
                     base::human_count(q.delayed),
                     base::human_count(q.inflight),
                     {base::human_count(q.dead), q.dead > 0 ? Tone::kWarn : Tone::kPlain},
                     rate_text(q.rate_in),
                     rate_text(q.rate_out),
                     measured(q.lag.p99_ns, q.lag.samples)});
    }
    return table.render(in_.style, in_.width);
  }

  std::string workers(Window window) {
    Table table({{"WORKER", Align::kLeft, true},
                 {"CORE", Align::kRight},
                 {"STATE"},
                 {"INFLIGHT", Align::kRight},
                 {"DONE/s", Align::kRight},
                 {"RSS", Align::kRight},
                 {"TASK", Align::kLeft, true}});
    for (std::size_t i = window.begin; i < window.end; ++i) {
      const WorkerFigures& w = workers_[i];
      table.add_row(
          {"  " + w.name,
           w.cpu < 0 ? "" : fmt::format("{}", w.cpu),
           {std::string(w.state), tone_of(w.state)},
           fmt::format("{}", w.inflight),
           rate_text(w.rate),
           w.rss_bytes == 0 ? "" : base::human_size(w.rss_bytes),
           w.current_task.empty() ? "" : fmt::format("{} {}", w.current_task, base::human_duration(w.running_ns))});
    }
    return table.render(in_.style, in_.width);
  }

  std::string tasks(Window window) {
    Table table({{"TASK", Align::kLeft, true},
                 {"COUNT", Align::kRight},
                 {"RATE", Align::kRight},
                 {"MEAN", Align::kRight},
                 {"P50", Align::kRight},
                 {"P99", Align::kRight},
                 {"FAIL%", Align::kRight}});
    for (std::size_t i = window.begin; i < window.end; ++i) {
      const TaskFigures& t = tasks_[i];
      table.add_row({"  " + t.name,
                     base::human_count(t.count),
                     rate_text(t.rate),
                     base::human_duration(static_cast<std::int64_t>(t.duration.mean_ns)),
                     base::human_duration(t.duration.p50_ns),
                     base::human_duration(t.duration.p99_ns),
                     {fmt::format("{:.1f}", t.failed * 100), t.failed > 0 ? Tone::kWarn : Tone::kPlain}});
    }
    return table.render(in_.style, in_.width);
  }

  // How long tasks of the selected queue waited for their first start.
  void times() {
    if (in_.selected >= in_.now.queues.size()) return;
    const engine::QueueStats& queue = in_.now.queues[in_.selected];
    lines_.push_back(in_.style.paint(
        Tone::kHeading,
        shortened(fmt::format("WAITED FOR A START, QUEUE {}, OF ALL TIME", printable(queue.name)), in_.width)));
    const auto bars = histogram_lines(queue.wait, in_.width, in_.style);
    lines_.insert(lines_.end(), bars.begin(), bars.end());
    if (bars.empty()) lines_.emplace_back("  nothing has started yet");
  }

  void limits(std::size_t room) {
    if (in_.limits == nullptr) return;
    Table table({{"LIMIT", Align::kLeft, true},
                 {"RUNNING", Align::kRight},
                 {"HELD-BACK/s", Align::kRight},
                 {"HELD-BACK", Align::kRight}});
    std::size_t shown = 0;
    for (const LimitFigures& f : *in_.limits) {
      if (in_.height > 0 && shown == room) break;
      ++shown;
      table.add_row({"  " + f.name,
                     fmt::format("{}", f.holders),
                     {rate_text(f.denied_rate), f.denied_rate > 0 ? Tone::kWarn : Tone::kPlain},
                     base::human_count(f.denied)});
    }
    add(table.empty() ? "no limit has held anything back\n" : table.render(in_.style, in_.width), in_.limits->size(),
        shown);
  }

  void bottom() {
    while (in_.height > 0 && lines_.size() + 1 < in_.height) lines_.emplace_back();
    // The rows are an estimate where columns wrap; what does not fit is cut above the last line.
    if (in_.height > 0 && lines_.size() >= in_.height) lines_.resize(in_.height - 1);
    lines_.push_back(
        in_.bottom.empty()
            ? in_.style.paint(Tone::kDim, "q quit  ↑↓ select  p pause/resume  d drain  r replay  h times  l limits")
            : in_.style.paint(Tone::kBold, in_.bottom));
  }

  const FrameInput& in_;
  std::vector<QueueFigures> queues_;
  std::vector<std::size_t> order_;  // of queues_
  std::vector<WorkerFigures> workers_;
  std::vector<TaskFigures> tasks_;
  std::vector<std::string> lines_;
};

}  // namespace

std::string bar(double share, std::size_t cells) {
  static constexpr const char* kEighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const auto eighths = static_cast<std::size_t>(std::clamp(share, 0.0, 1.0) * static_cast<double>(cells * 8));
  // What is there at all is seen.
  const std::size_t drawn = share > 0 ? std::max<std::size_t>(eighths, 1) : 0;
  std::string text;
  for (std::size_t i = 0; i < drawn / 8; ++i) text += "█";
  text += kEighths[drawn % 8];
  const std::size_t width = (drawn + 7) / 8;
  return text + std::string(cells - std::min(width, cells), ' ');
}

std::vector<std::size_t> fullest_first(const std::vector<engine::QueueStats>& queues) {
  const auto rank = [&queues](std::size_t i) {
    const engine::QueueStats& q = queues[i];
    return std::to_string(q.ready + q.waiting + q.leased + q.outbox + q.dead).size();
  };
  std::vector<std::size_t> order(queues.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const auto left = rank(a), right = rank(b);
    return left != right ? left > right : ::strverscmp(queues[a].name.c_str(), queues[b].name.c_str()) < 0;
  });
  return order;
}

std::vector<std::string> frame_lines(const FrameInput& input) { return Frame(input).lines(); }

}  // namespace stem::cli
