#include "api/worker_flags.hpp"

#include <cstdlib>

#include "api/task_resolver.hpp"
#include "base/units.hpp"
#include "worker/pinning.hpp"

namespace stem::api {
namespace {

using worker::WorkerOptions;

constexpr std::uint64_t kMostSpinUs = 60'000'000;

Error bad(std::string_view text, const std::string& wanted) {
  return {Errc::kInvalidArgument, "'" + std::string(text) + "' is not " + wanted};
}

Result<void> take_count(std::string_view text, std::uint64_t least, std::uint64_t most, const char* what,
                        std::uint64_t& into) {
  const auto count = base::parse_count(text);
  if (!count || *count < least || *count > most)
    return bad(text, std::string(what) + ", from " + std::to_string(least) + " to " + std::to_string(most));
  into = *count;
  return {};
}

Result<void> take_queues(std::string_view text, WorkerOptions& options) {
  options.queues.clear();
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t comma = rest.find(',');
    if (comma != 0) options.queues.emplace_back(rest.substr(0, comma));
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
  }
  if (options.queues.empty()) return bad(text, "the name of a queue");
  return {};
}

Result<void> take_concurrency(std::string_view text, WorkerOptions& options) {
  std::uint64_t count = 0;
  auto good = take_count(text, 1, worker::kMostProcesses, "a number of processes", count);
  options.concurrency = static_cast<std::uint32_t>(count);
  return good;
}

Result<void> take_prefetch(std::string_view text, WorkerOptions& options) {
  std::uint64_t count = 0;
  auto good = take_count(text, 1, shm::kHeldSlots, "a number of tasks", count);
  options.prefetch_multiplier = static_cast<std::uint32_t>(count);
  return good;
}

Result<void> take_async_slots(std::string_view text, WorkerOptions& options) {
  std::uint64_t count = 0;
  auto good = take_count(text, 1, worker::kMostAsyncSlots, "a number of tasks", count);
  options.async_slots = static_cast<std::uint32_t>(count);
  return good;
}

Result<void> take_max_tasks(std::string_view text, WorkerOptions& options) {
  return take_count(text, 1, UINT64_MAX, "a number of tasks", options.max_tasks_per_child);
}

Result<void> take_max_memory(std::string_view text, WorkerOptions& options) {
  const auto bytes = base::parse_size_bytes(text);
  if (!bytes) return bytes.error();
  if (*bytes == 0) return bad(text, "a size that a process can have");
  options.max_memory_per_child_bytes = *bytes;
  return {};
}

Result<void> take_autoscale(std::string_view text, WorkerOptions& options) {
  const std::size_t comma = text.find(',');
  const Error wrong = bad(text, "MIN,MAX, as in 1,8 (at most " + std::to_string(worker::kMostProcesses) + ")");
  if (comma == std::string_view::npos) return wrong;
  const auto least = base::parse_count(text.substr(0, comma));
  const auto most = base::parse_count(text.substr(comma + 1));
  if (!least || !most || *least < 1 || *most < *least || *most > worker::kMostProcesses) return wrong;
  options.autoscale_min = static_cast<std::uint32_t>(*least);
  options.autoscale_max = static_cast<std::uint32_t>(*most);
  return {};
}

Result<void> take_node(std::string_view text, WorkerOptions& options) {
  constexpr std::size_t kLongest = 48;  // leaves room for the process's number in the roster
  if (text.empty() || text.size() > kLongest) return bad(text, "a name of 1 to 48 bytes");
  options.node = text;
  return {};
}

Result<void> take_spin(std::string_view text, WorkerOptions& options) {
  std::uint64_t us = 0;
  auto good = take_count(text, 0, kMostSpinUs, "a number of microseconds", us);
  options.spin_ns = static_cast<std::int64_t>(us) * 1000;
  return good;
}

Result<void> take_duration(std::string_view text, std::int64_t& into) {
  const auto ns = base::parse_duration_ns(text);
  if (!ns) return ns.error();
  into = *ns;
  return {};
}

constexpr WorkerFlag kFlags[] = {
    {"-q,--queue", "QUEUE,...", "queues to serve, fairly in turn (default: the default queue)", "worker.queues",
     "STEM_WORKER_QUEUES", true, take_queues},
    {"-c,--concurrency", "N", "worker processes (default: one a core)", "worker.concurrency", nullptr, false,
     take_concurrency},
    {"--prefetch-multiplier", "N", "tasks a process may hold, for each of its slots (default 2)",
     "worker.prefetch_multiplier", "STEM_PREFETCH_MULTIPLIER", false, take_prefetch},
    {"--async-slots", "N", "coroutine handlers under way at once in a process (default 256)", "worker.async_slots",
     nullptr, false, take_async_slots},
    {"--pin", "auto|none|CPULIST", "cores of the processes: auto, none or a list as 0-3,8 (default auto)", "worker.pin",
     nullptr, false, worker::parse_pin},
    {"--max-tasks-per-child", "N", "replace a process after so many tasks", "", nullptr, false, take_max_tasks},
    {"--max-memory-per-child", "SIZE", "replace a process when it has grown beyond it, as 512MiB", "", nullptr, false,
     take_max_memory},
    {"--autoscale", "MIN,MAX", "as many processes as the backlog asks for", "", nullptr, false, take_autoscale},
    {"--node", "NAME", "name of this worker; its processes are NAME-1, NAME-2, ... (default: the host's)", "", nullptr,
     false, take_node},
    {"--spin-us", "N", "microseconds an idle process spins before it parks (default 50)", "", nullptr, false,
     take_spin},
    {"--drain-timeout", "DURATION", "how long a warm stop waits for tasks (default 60s)", "", nullptr, false,
     [](std::string_view text, WorkerOptions& o) { return take_duration(text, o.drain_timeout_ns); }},
    {"--soft-grace", "DURATION", "how long a soft stop waits for handlers (default 30s)", "", nullptr, false,
     [](std::string_view text, WorkerOptions& o) { return take_duration(text, o.soft_grace_ns); }},
};

std::string environment(const char* name) {
  const char* text = name == nullptr ? nullptr : std::getenv(name);
  return text == nullptr ? std::string() : std::string(text);
}

}  // namespace

std::span<const WorkerFlag> worker_flags() { return kFlags; }

Result<WorkerOptions> worker_options(std::string_view name_space, const FlagTexts& given) {
  WorkerOptions options;
  options.segment.name_space = name_space.empty() ? environment("STEM_NAMESPACE") : std::string(name_space);
  if (options.segment.name_space.empty()) options.segment.name_space = "stem";
  options.queues = {default_queue()};
  for (const WorkerFlag& flag : kFlags) {
    const auto found = given.find(flag.long_name());
    const std::string from_environment = environment(flag.environment);
    if (found != given.end()) {
      if (auto good = flag.take(found->second, options); !good)
        return good.error().within(std::string(flag.long_name()));
    } else if (!from_environment.empty()) {
      if (auto good = flag.take(from_environment, options); !good) return good.error().within(flag.environment);
    }
  }
  return options;
}

}  // namespace stem::api
