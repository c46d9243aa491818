#include "bench/machine.hpp"

#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "stem/version.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace stem::bench {

namespace {

constexpr const char* kUnknown = "unknown";

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line.empty() ? kUnknown : line;
}

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("model name", 0) != 0) continue;
    const std::size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return kUnknown;
}

// "2 × L2 2048K, L3 266240K" of CPU 0.
std::string caches() {
  std::string text;
  for (int index = 0; index < 8; ++index) {
    const std::string folder = fmt::format("/sys/devices/system/cpu/cpu0/cache/index{}/", index);
    const std::string level = first_line(folder + "level");
    if (level == kUnknown) break;
    if (level == "1") continue;
    if (!text.empty()) text += ", ";
    text += fmt::format("L{} {}", level, first_line(folder + "size"));
  }
  return text.empty() ? kUnknown : text;
}

std::string hypervisor() {
#if defined(__x86_64__)
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  __cpuid(1, eax, ebx, ecx, edx);
  if ((ecx & (1u << 31)) == 0) return "none";
  __cpuid(0x40000000, eax, ebx, ecx, edx);
  char name[13] = {};
  std::memcpy(name, &ebx, 4);
  std::memcpy(name + 4, &ecx, 4);
  std::memcpy(name + 8, &edx, 4);
  return name[0] != '\0' ? name : kUnknown;
#else
  return first_line("/sys/hypervisor/type");
#endif
}

// Of a list like "always [never] advise", the word in brackets.
std::string chosen(const std::string& line) {
  const std::size_t open = line.find('[');
  const std::size_t close = line.find(']');
  if (open == std::string::npos || close == std::string::npos) return line;
  return line.substr(open + 1, close - open - 1);
}

std::string kernel() {
  utsname names{};
  if (uname(&names) != 0) return kUnknown;
  return fmt::format("{} {}", names.sysname, names.release);
}

std::string build() {
#if defined(__OPTIMIZE__)
  constexpr const char* kOptimised = "optimised";
#else
  constexpr const char* kOptimised = "NOT OPTIMISED";
#endif
#if defined(NDEBUG)
  constexpr const char* kAsserts = "NDEBUG";
#else
  constexpr const char* kAsserts = "with asserts";
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr const char* kSanitizer = ", sanitizer";
#else
  constexpr const char* kSanitizer = "";
#endif
#if defined(__clang__)
  constexpr const char* kCompiler = "clang ";
#else
  constexpr const char* kCompiler = "g++ ";
#endif
  return fmt::format("{}, {}{}, {}{}", kOptimised, kAsserts, kSanitizer, kCompiler, __VERSION__);
}

double seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

}  // namespace

std::vector<MachineFact> machine_facts() {
  const std::string governor = first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
  return {
      {"cpu", "CPU", cpu_model()},
      {"cores", "cores online", std::to_string(sysconf(_SC_NPROCESSORS_ONLN))},
      {"caches", "caches", caches()},
      {"hypervisor", "hypervisor", hypervisor()},
      {"kernel", "kernel", kernel()},
      {"clocksource", "clock source", first_line("/sys/devices/system/clocksource/clocksource0/current_clocksource")},
      {"governor", "governor", governor == kUnknown ? "not visible" : governor},
      {"thp_shmem", "huge pages for shared memory",
       chosen(first_line("/sys/kernel/mm/transparent_hugepage/shmem_enabled"))},
      {"build", "build", build()},
      {"version", "version", std::string(kVersion)},
  };
}

CpuWatch::Sample CpuWatch::sample() {
  // "cpu user nice system idle iowait irq softirq steal ...", in clock ticks over all CPUs.
  std::ifstream file("/proc/stat");
  std::string word;
  double user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, steal = 0;
  file >> word >> user >> nice >> system >> idle >> iowait >> irq >> softirq >> steal;
  const auto per_second = static_cast<double>(sysconf(_SC_CLK_TCK));
  rusage self{}, children{};
  getrusage(RUSAGE_SELF, &self);
  getrusage(RUSAGE_CHILDREN, &children);
  Sample result;
  result.busy_s = (user + nice + system + irq + softirq) / per_second;
  result.steal_s = steal / per_second;
  result.total_s = result.busy_s + result.steal_s + (idle + iowait) / per_second;
  result.own_s =
      seconds(self.ru_utime) + seconds(self.ru_stime) + seconds(children.ru_utime) + seconds(children.ru_stime);
  return result;
}

CpuWatch::CpuWatch() : start_(sample()) {}

CpuWatch::Use CpuWatch::use() const {
  const Sample now = sample();
  const double total_s = now.total_s - start_.total_s;
  if (total_s <= 0) return {};
  const double others_s = (now.busy_s - start_.busy_s) - (now.own_s - start_.own_s);
  return {std::max(0.0, others_s) / total_s * 100, (now.steal_s - start_.steal_s) / total_s * 100};
}

}  // namespace stem::bench
