// Clock speed, quotas, isolation and the clock source.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>
#include <fstream>
#include <map>
#include <set>

#include "base/units.hpp"
#include "tools/stem/doctor/finding.hpp"
#include "tools/stem/doctor/host_files.hpp"

namespace stem::cli {
namespace {

// Above it the kernel does not answer from user space.
constexpr double kSlowClockNs = 150;

Finding check_governor(const std::vector<int>& cpus) {
  Finding finding{.name = "cpu-governor",
                  .found = "the clock speed is not governed here (a virtual machine, or fixed)",
                  .why =
                      "a core that has slowed down to save power wakes late: the first tasks after a "
                      "pause take several times as long",
                  .mend = "keep the cores at speed",
                  .command = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"};
  std::map<std::string, int> governors;
  for (const int cpu : cpus) {
    const auto line = read_first_line(fmt::format("/sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor", cpu));
    if (line) ++governors[*line];
  }
  if (governors.empty()) return finding;
  std::string found;
  for (const auto& [name, count] : governors) {
    found += fmt::format("{}{} on {} CPU{}", found.empty() ? "" : ", ", name, count, count == 1 ? "" : "s");
    if (name != "performance") finding.verdict = Verdict::kWarn;
  }
  finding.found = found;
  return finding;
}

// CPUs' worth of time that a group may use; nothing when it has no quota.
std::optional<double> quota_of(const std::string& directory, int version) {
  if (version == 1) {
    const auto quota = read_first_line(directory + "/cpu.cfs_quota_us");
    const auto period = read_first_line(directory + "/cpu.cfs_period_us");
    if (!quota || !period || quota->starts_with('-')) return std::nullopt;
    const auto used = base::parse_count(*quota);
    const auto of = base::parse_count(*period);
    if (!used.ok() || !of.ok() || *of == 0) return std::nullopt;
    return static_cast<double>(*used) / static_cast<double>(*of);
  }
  const auto line = read_first_line(directory + "/cpu.max");  // "200000 100000" or "max 100000"
  if (!line) return std::nullopt;
  const std::size_t space = line->find(' ');
  const auto used = base::parse_count(std::string_view(*line).substr(0, space));
  const auto of = space == std::string::npos ? base::parse_count("100000")
                                             : base::parse_count(std::string_view(*line).substr(space + 1));
  if (!used.ok() || !of.ok() || *of == 0) return std::nullopt;
  return static_cast<double>(*used) / static_cast<double>(*of);
}

std::uint64_t times_throttled(const std::string& directory) {
  std::ifstream in(directory + "/cpu.stat");
  std::string key;
  std::uint64_t value = 0;
  while (in >> key >> value) {
    if (key == "nr_throttled") return value;
  }
  return 0;
}

Finding check_quota(std::size_t cpus) {
  Finding finding{.name = "cpu-quota",
                  .found = "the control group sets no CPU quota",
                  .why =
                      "a group that has used up its quota stands still for the rest of the period, up "
                      "to 100 ms, with leases running; spinning workers use it up first",
                  .mend =
                      "remove the quota (systemd: CPUQuota=; Kubernetes: no cpu limit, or a static CPU "
                      "policy), or start fewer workers than the quota has CPUs"};
  const auto group = control_group("cpu");
  if (!group) return finding;
  std::optional<double> quota;
  std::uint64_t throttled = 0;
  for (const std::string& directory : group->directories) {
    const auto here = quota_of(directory, group->version);
    if (here && (!quota || *here < *quota)) {
      quota = here;
      throttled = times_throttled(directory);
    }
  }
  if (!quota) return finding;
  finding.found = fmt::format("the control group may use {:.2g} CPUs of {}", *quota, cpus);
  if (throttled > 0) finding.found += fmt::format("; it was stopped {} times so far", throttled);
  if (*quota < static_cast<double>(cpus) || throttled > 0) finding.verdict = Verdict::kWarn;
  return finding;
}

Finding check_isolated(const std::vector<int>& cpus) {
  Finding finding{.name = "isolated-cpus",
                  .found = "no CPU is isolated; workers share theirs with the rest of the system",
                  .why =
                      "on an isolated core nothing else runs, which is what the last microseconds of "
                      "the tail need",
                  .mend = "boot with isolcpus=LIST nohz_full=LIST rcu_nocbs=LIST",
                  .command = "stem worker start --pin LIST"};
  const auto line = read_first_line("/sys/devices/system/cpu/isolated");
  if (!line || line->empty()) return finding;
  const std::set<int> allowed(cpus.begin(), cpus.end());
  std::vector<int> out_of_reach;
  for (const int cpu : parse_cpu_list(*line)) {
    if (!allowed.contains(cpu)) out_of_reach.push_back(cpu);
  }
  finding.found = fmt::format("isolated: {}", *line);
  finding.mend = "give them to the workers";
  finding.command = fmt::format("stem worker start --pin {}", *line);
  // The kernel takes isolated CPUs out of the default affinity; asking for them by number still works,
  // so this is for knowing and no warning.
  if (!out_of_reach.empty()) finding.found += " (used only when --pin names them)";
  return finding;
}

std::uint64_t clock_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

// The least of several rounds: what the read costs when nothing comes between.
double clock_cost_ns() {
  constexpr int kRounds = 50;
  constexpr int kReads = 1'000;
  double best = 1e9;
  for (int round = 0; round < kRounds; ++round) {
    const std::uint64_t start = clock_ns();
    for (int i = 0; i < kReads; ++i) (void)clock_ns();
    best = std::min(best, static_cast<double>(clock_ns() - start) / kReads);
  }
  return best;
}

Finding check_clock_source() {
  Finding finding{.name = "clock-source",
                  .found = {},
                  .why =
                      "every task reads the clock a few times; a source that only the kernel can read "
                      "costs a system call, up to microseconds, each time",
                  .mend = "use the time stamp counter, unless dmesg calls it unstable",
                  .command = "echo tsc | sudo tee /sys/devices/system/clocksource/clocksource0/current_clocksource"};
  const auto source = read_first_line("/sys/devices/system/clocksource/clocksource0/current_clocksource");
  const double cost = clock_cost_ns();
  finding.found = fmt::format("{}, {:.0f} ns a read", source.value_or("unknown source"), cost);
  if (cost > kSlowClockNs) finding.verdict = Verdict::kWarn;
  return finding;
}

}  // namespace

void check_processors(std::vector<Finding>& findings) {
  const std::vector<int> cpus = allowed_cpus();
  findings.push_back(check_governor(cpus));
  findings.push_back(check_quota(cpus.size()));
  findings.push_back(check_isolated(cpus));
  findings.push_back(check_clock_source());
}

}  // namespace stem::cli
