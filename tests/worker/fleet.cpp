#include "tests/worker/fleet.hpp"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <fstream>

#include "base/log.hpp"
#include "shm/death.hpp"
#include "shm/names.hpp"

namespace stem::test {

Fleet::Fleet(std::uint32_t processes, std::uint32_t slots) {
  options.segment = small_segment(directory_);
  if (slots != 0) options.segment.slot_count = slots;
  options.node = "node";
  options.concurrency = processes;
  options.print_banner = false;
  segment_ = must_create(options.segment);
  client_ = std::make_unique<Attached>(segment_);
  queue_ = must_queue(*segment_, "default");
}

void Fleet::start() {
  supervisor_ = Process([this] {
    if (before_run) before_run();
    const auto ended = worker::run(options, handlers);
    if (!ended) log::error(ended.error().message);
    return ended ? 0 : 1;
  });
  const auto joined = [this] {
    std::size_t ready = 0;
    for (const auto& w : workers()) ready += segment_->row(w.participant).supervisor.load() != 0;
    return ready == options.concurrency;
  };
  if (!wait_until(joined, kPatience)) {
    log::error("the workers did not start");
    std::abort();
  }
}

engine::TaskId Fleet::put(const std::string& task, std::string_view payload, const engine::TaskExtras* extras,
                          std::uint16_t max_retries) {
  engine::TaskSpec spec;
  spec.queue = queue_;
  spec.task = must_task(*segment_, task);
  spec.max_retries = max_retries;
  spec.keep_result = true;
  spec.payload = std::as_bytes(std::span(payload.data(), payload.size()));
  spec.extras = extras;
  return engine().enqueue(spec, base::monotonic_ns()).id;
}

std::uint64_t Fleet::restarts(shm::RestartCause cause) const {
  std::uint64_t sum = 0;
  for (std::uint32_t i = 0; i < segment_->rows_used(); ++i)
    sum += segment_->row(i).restarts[static_cast<std::uint32_t>(cause)].load();
  return sum;
}

std::vector<engine::WorkerStats> Fleet::workers() {
  auto all = engine::Query(engine()).workers();
  std::erase_if(all, [this](const engine::WorkerStats& w) {
    return w.role != shm::Role::kWorker || w.state != shm::RowState::kLive ||
           shm::signalled_dead(segment_->row(w.participant));
  });
  return all;
}

pid_t Fleet::busy_pid() {
  for (const auto& w : workers())
    if (w.current.handle != 0) return static_cast<pid_t>(w.pid);
  return 0;
}

void Fleet::note(const std::string& line) const {
  const int fd = ::open(directory_.file("ledger").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const std::string text = line + "\n";
  if (fd < 0 || ::write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) std::abort();
  ::close(fd);
}

std::vector<std::string> Fleet::notes() const {
  std::ifstream file(directory_.file("ledger"));
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

std::uint64_t Fleet::notes_of(std::string_view start) const {
  std::uint64_t found = 0;
  for (const std::string& line : notes()) found += line.starts_with(start);
  return found;
}

bool runs(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  if (!std::getline(file, text)) return false;
  const auto name_end = text.rfind(')');
  return name_end != std::string::npos && text.size() > name_end + 2 && text[name_end + 2] != 'Z';
}

}  // namespace stem::test
