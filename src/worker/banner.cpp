#include "worker/banner.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdio>

#include "base/units.hpp"
#include "stem/version.hpp"

namespace stem::worker {
namespace {

void line(std::string_view name, const std::string& text) { fmt::print("  {:<11} {}\n", name, text); }

std::string process_text(const Child& child, const shm::Segment& segment) {
  const int core = segment.row(child.row).cpu.load(std::memory_order_relaxed);
  const std::string where = core < 0 ? "not pinned" : fmt::format("core {}", core);
  return fmt::format("{} (pid {}, {})", child.name, child.pid, where);
}

std::string limits_text(const WorkerOptions& options) {
  std::string text = fmt::format("drain {}, then soft stop for {}", base::human_duration(options.drain_timeout_ns),
                                 base::human_duration(options.soft_grace_ns));
  if (options.max_tasks_per_child != 0) text += fmt::format("; {} tasks per process", options.max_tasks_per_child);
  if (options.max_memory_per_child_bytes != 0)
    text += fmt::format("; {} per process", base::human_size(options.max_memory_per_child_bytes));
  return text;
}

}  // namespace

void print_banner(const WorkerOptions& options, const HandlerTable& handlers, const shm::Segment& segment,
                  const Children& children, bool keeper) {
  fmt::print("stem {} worker {}\n", kVersion, options.node);
  line("namespace", fmt::format("{} ({})", segment.name_space(), segment.path()));
  line("queues", fmt::format("{}", fmt::join(options.queues, ", ")));
  std::string name = "processes";
  for (const Child& child : children.all()) {
    if (child.state != Child::State::kRunning) continue;
    line(name, process_text(child, segment));
    name.clear();
  }
  name = "handlers";
  for (const auto& [task, entry] : handlers.entries()) {
    const std::string text = entry.detail.empty() ? fmt::format("{} ({})", task, entry.kind)
                                                  : fmt::format("{} ({}: {})", task, entry.kind, entry.detail);
    line(name, entry.note.empty() ? text : fmt::format("{}; {}", text, entry.note));
    name.clear();
  }
  line("prefetch", fmt::format("{} tasks per process", options.prefetch()));
  line("idle", options.spin_ns == 0 ? "parks at once"
                                    : fmt::format("spins for {}, then parks", base::human_duration(options.spin_ns)));
  if (options.autoscale_max != 0)
    line("autoscale", fmt::format("{} to {} processes", options.autoscale_min, options.autoscale_max));
  line("stopping", limits_text(options));
  line("keeper", keeper ? "this supervisor" : "another process of this segment");
  fmt::print("ready\n");
  std::fflush(stdout);
}

}  // namespace stem::worker
