#include "tools/stem/task/process_state.hpp"

#include <fmt/format.h>

#include <fstream>
#include <iterator>
#include <sstream>

namespace stem::cli {
namespace {

std::optional<std::string> file_text(const std::string& path) {
  std::ifstream file(path);
  if (!file) return std::nullopt;
  return std::string((std::istreambuf_iterator<char>(file)), {});
}

std::uint64_t share(std::uint64_t part_ns, std::int64_t of_ns) {
  return of_ns <= 0 ? 0 : std::min<std::uint64_t>(100, part_ns * 100 / static_cast<std::uint64_t>(of_ns));
}

}  // namespace

std::optional<ThreadTimes> thread_times(std::uint32_t pid, std::uint32_t tid) {
  const std::string directory = fmt::format("/proc/{}/task/{}/", pid, tid);
  const auto stat = file_text(directory + "stat");
  if (!stat) return std::nullopt;
  ThreadTimes times;
  const std::size_t name_end = stat->rfind(')');  // the name before it may hold anything
  if (name_end == std::string::npos || name_end + 2 >= stat->size()) return std::nullopt;
  times.state = (*stat)[name_end + 2];
  if (const auto schedule = file_text(directory + "schedstat")) {
    std::istringstream numbers(*schedule);
    numbers >> times.on_cpu_ns >> times.waited_ns;
  }
  if (const auto waits_in = file_text(directory + "wchan"); waits_in && *waits_in != "0") times.waits_in = *waits_in;
  return times;
}

std::string thread_text(const ThreadTimes& before, const ThreadTimes& now, std::int64_t between_ns) {
  const std::string where = now.waits_in.empty() ? "" : fmt::format(" in {}", now.waits_in);
  switch (now.state) {
    case 'T': return "is stopped by a signal; SIGCONT sets it going";
    case 't': return "is stopped by a debugger";
    case 'D': return fmt::format("waits for the kernel{} (a disk, as a rule)", where);
    case 'Z':
    case 'X': return "has ended";
    default: break;
  }
  const std::uint64_t ran = share(now.on_cpu_ns - before.on_cpu_ns, between_ns);
  const std::uint64_t waited = share(now.waited_ns - before.waited_ns, between_ns);
  if (waited >= 20)
    return fmt::format("got a CPU only {} % of the time, and waited for one {} %: its core is crowded", ran, waited);
  if (ran >= 50) return fmt::format("runs, {} % of the time on a CPU", ran);
  return fmt::format("sleeps{}, {} % of the time on a CPU", where, ran);
}

}  // namespace stem::cli
