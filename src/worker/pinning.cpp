#include "worker/pinning.hpp"

#include <sched.h>

#include <algorithm>
#include <charconv>

namespace stem::worker {
namespace {

// Hosts with more cores than CPU_SETSIZE (1024) need a set made to measure.
constexpr int kMostCores = 8192;

class CoreSet {
 public:
  CoreSet() : set_(CPU_ALLOC(kMostCores)), bytes_(CPU_ALLOC_SIZE(kMostCores)) { CPU_ZERO_S(bytes_, set_); }
  ~CoreSet() { CPU_FREE(set_); }
  CoreSet(const CoreSet&) = delete;
  CoreSet& operator=(const CoreSet&) = delete;

  bool read() { return ::sched_getaffinity(0, bytes_, set_) == 0; }
  bool apply() const { return ::sched_setaffinity(0, bytes_, set_) == 0; }
  void add(int core) { CPU_SET_S(static_cast<std::size_t>(core), bytes_, set_); }
  bool has(int core) const { return CPU_ISSET_S(static_cast<std::size_t>(core), bytes_, set_); }

 private:
  cpu_set_t* set_;
  std::size_t bytes_;
};

Error bad_list(std::string_view text) {
  return {Errc::kInvalidArgument,
          "'" + std::string(text) + "' is not a list of cores; write auto, none, or numbers as 0-3,8"};
}

bool parse_core(std::string_view text, int& core) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), core);
  return error == std::errc() && end == text.data() + text.size() && !text.empty() && core >= 0 && core < kMostCores;
}

}  // namespace

Result<std::vector<int>> parse_cpu_list(std::string_view text) {
  std::vector<int> cores;
  std::string_view rest = text;
  for (;;) {
    const std::size_t comma = rest.find(',');
    const std::string_view part = rest.substr(0, comma);
    const std::size_t dash = part.find('-');
    int first = 0;
    if (!parse_core(part.substr(0, dash), first)) return bad_list(text);
    int last = first;
    if (dash != std::string_view::npos && !parse_core(part.substr(dash + 1), last)) return bad_list(text);
    if (last < first) return bad_list(text);
    for (int core = first; core <= last; ++core) cores.push_back(core);
    if (comma == std::string_view::npos) return cores;
    rest.remove_prefix(comma + 1);
  }
}

Result<void> parse_pin(std::string_view text, WorkerOptions& options) {
  if (text == "auto" || text.empty()) {
    options.pin = PinMode::kAuto;
    return {};
  }
  if (text == "none") {
    options.pin = PinMode::kNone;
    return {};
  }
  auto cores = parse_cpu_list(text);
  if (!cores) return cores.error();
  const std::vector<int> allowed = allowed_cores();
  for (const int core : *cores) {
    if (std::find(allowed.begin(), allowed.end(), core) == allowed.end()) {
      return Error{Errc::kInvalidArgument,
                   "core " + std::to_string(core) + " does not exist or is not allowed to this process"};
    }
  }
  options.pin = PinMode::kList;
  options.pin_cores = std::move(*cores);
  return {};
}

std::vector<int> allowed_cores() {
  CoreSet set;
  std::vector<int> cores;
  if (!set.read()) return cores;
  for (int core = 0; core < kMostCores; ++core)
    if (set.has(core)) cores.push_back(core);
  return cores;
}

int core_for(const WorkerOptions& options, const std::vector<int>& allowed, std::uint32_t n) {
  if (options.pin == PinMode::kNone) return -1;
  const std::vector<int>& cores = options.pin == PinMode::kList ? options.pin_cores : allowed;
  return cores.empty() ? -1 : cores[n % cores.size()];
}

int pin_to(int core) {
  if (core >= 0) {
    CoreSet wanted;
    wanted.add(core);
    (void)wanted.apply();  // refused by a cpuset that has changed: the reading below says so
  }
  const std::vector<int> now = allowed_cores();
  return now.size() == 1 ? now.front() : -1;
}

}  // namespace stem::worker
