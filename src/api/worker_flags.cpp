#include "api/worker_flags.hpp"

#include <CLI/CLI.hpp>
#include <cstdlib>

#include "api/task_resolver.hpp"
#include "base/units.hpp"
#include "worker/pinning.hpp"

namespace stem::api {
namespace {

std::string environment(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? std::string() : std::string(text);
}

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const auto comma = text.find(',');
    if (comma != 0) parts.emplace_back(text.substr(0, comma));
    if (comma == std::string_view::npos) break;
    text.remove_prefix(comma + 1);
  }
  return parts;
}

Result<void> read_duration(const char* flag, const std::string& text, std::int64_t& into) {
  if (text.empty()) return {};
  const auto ns = base::parse_duration_ns(text);
  if (!ns) return ns.error().within(flag);
  into = *ns;
  return {};
}

Result<void> read_autoscale(const std::string& text, worker::WorkerOptions& options) {
  if (text.empty()) return {};
  const auto parts = split(text);
  const Error bad{Errc::kInvalidArgument, "--autoscale: \"" + text + "\" is not MIN,MAX as in 1,8"};
  if (parts.size() != 2) return bad;
  const auto least = base::parse_count(parts[0]);
  const auto most = base::parse_count(parts[1]);
  if (!least || !most || *least < 1 || *most < *least || *most > shm::kMaxParticipants) return bad;
  options.autoscale_min = static_cast<std::uint32_t>(*least);
  options.autoscale_max = static_cast<std::uint32_t>(*most);
  return {};
}

}  // namespace

std::string effective_namespace(std::string_view given) {
  if (!given.empty()) return std::string(given);
  const std::string name = environment("STEM_NAMESPACE");
  return name.empty() ? "stem" : name;
}

std::vector<std::string> effective_queues(const std::vector<std::string>& given) {
  std::vector<std::string> queues;
  for (const std::string& one : given)
    for (std::string& name : split(one)) queues.push_back(std::move(name));
  if (queues.empty()) queues = split(environment("STEM_WORKER_QUEUES"));
  if (queues.empty()) queues.push_back(default_queue());
  return queues;
}

void add_worker_flags(CLI::App& command, WorkerFlags& flags) {
  command.add_option("--namespace", flags.name_space, "Segment to work on [$STEM_NAMESPACE, stem]");
  command.add_option("-q,--queue", flags.queues, "Queue to serve, first things first (repeat, or with commas)");
  command.add_option("-c,--concurrency", flags.concurrency, "Worker processes [one for each core]");
  command.add_option("--prefetch-multiplier", flags.prefetch_multiplier, "Tasks a process may hold, for each slot [2]");
  command.add_option("--pin", flags.pin, "Cores: auto, none, or a list as in 0-3,8")->capture_default_str();
  command.add_option("--max-tasks-per-child", flags.max_tasks_per_child, "Replace a process after so many tasks");
  command.add_option("--max-memory-per-child", flags.max_memory_per_child, "Replace a process beyond this size, as in 512MiB");
  command.add_option("--autoscale", flags.autoscale, "MIN,MAX processes, by lag");
  command.add_option("--node", flags.node, "This worker's name [the host's]");
  command.add_option("--spin-us", flags.spin_us, "Microseconds an idle process spins before it parks [50]");
  command.add_option("--drain-timeout", flags.drain_timeout, "How long a warm stop waits for what runs [60s]");
  command.add_option("--soft-grace", flags.soft_grace, "How long a soft stop waits before it is hard [30s]");
}

Result<worker::WorkerOptions> worker_options(const WorkerFlags& flags) {
  worker::WorkerOptions o;
  o.segment.name_space = effective_namespace(flags.name_space);
  o.queues = effective_queues(flags.queues);
  o.node = flags.node;
  o.concurrency = flags.concurrency;
  if (flags.prefetch_multiplier != 0) {
    o.prefetch_multiplier = flags.prefetch_multiplier;
  } else if (const std::string text = environment("STEM_PREFETCH_MULTIPLIER"); !text.empty()) {
    const auto count = base::parse_count(text);
    if (!count || *count < 1 || *count > shm::kHeldSlots)
      return Error{Errc::kInvalidArgument, "STEM_PREFETCH_MULTIPLIER: \"" + text + "\" is not a number from 1 to 64"};
    o.prefetch_multiplier = static_cast<std::uint32_t>(*count);
  }
  if (auto good = worker::parse_pin(flags.pin, o); !good) return good.error().within("--pin");
  o.max_tasks_per_child = flags.max_tasks_per_child;
  if (!flags.max_memory_per_child.empty()) {
    const auto bytes = base::parse_size_bytes(flags.max_memory_per_child);
    if (!bytes) return bytes.error().within("--max-memory-per-child");
    o.max_memory_per_child_bytes = *bytes;
  }
  if (auto good = read_autoscale(flags.autoscale, o); !good) return good.error();
  if (!flags.spin_us.empty()) {
    const auto us = base::parse_count(flags.spin_us);
    if (!us || *us > 60'000'000)
      return Error{Errc::kInvalidArgument, "--spin-us: \"" + flags.spin_us + "\" is not a number of microseconds up to a minute"};
    o.spin_ns = static_cast<std::int64_t>(*us) * 1000;
  }
  if (auto good = read_duration("--drain-timeout", flags.drain_timeout, o.drain_timeout_ns); !good) return good.error();
  if (auto good = read_duration("--soft-grace", flags.soft_grace, o.soft_grace_ns); !good) return good.error();
  return o;
}

}  // namespace stem::api
