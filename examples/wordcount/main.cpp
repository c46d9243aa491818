// Checksums and counts every file below a folder, on worker processes, and kills one of them half way.
//
//   example_wordcount [FOLDER] [--workers N]
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <optional>
#include <thread>

#include "check.hpp"
#include "observer.hpp"
#include "stem/client.hpp"
#include "tasks.hpp"
#include "worker_program.hpp"

namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

constexpr std::size_t kSample = 25;
constexpr int kRoundTrips = 500;
std::atomic<bool> interrupted{false};

std::int64_t now_ns() { return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::string human(double seconds) {
  if (seconds < 1e-3) return fmt::format("{:.0f} us", seconds * 1e6);
  return seconds < 1 ? fmt::format("{:.2f} ms", seconds * 1e3) : fmt::format("{:.2f} s", seconds);
}

// A directory of this run's own for its segment, gone at the end however it ends; the worker program
// inherits the variable.
struct PrivateSegment {
  std::string directory = "/dev/shm/stem-wordcount-XXXXXX";
  std::string name_space = "wordcount";
  PrivateSegment() {
    if (::mkdtemp(directory.data()) == nullptr) throw std::runtime_error(directory + " cannot be made");
    ::setenv("STEM_SHM_DIRECTORY", directory.c_str(), 1);
  }
  ~PrivateSegment() {
    std::error_code ignored;
    fs::remove_all(directory, ignored);
  }
};

// Regular files that we may read, the largest last.
std::vector<std::string> files_below(const fs::path& folder) {
  std::vector<std::pair<std::uintmax_t, std::string>> found;
  std::error_code error;
  for (fs::recursive_directory_iterator at(folder, fs::directory_options::skip_permission_denied, error), end;
       !error && at != end; at.increment(error)) {
    std::error_code ignored;
    if (at->is_symlink(ignored) || !at->is_regular_file(ignored)) continue;
    if (::access(at->path().c_str(), R_OK) == 0) found.emplace_back(at->file_size(ignored), at->path().string());
  }
  if (!found.empty()) std::iter_swap(std::max_element(found.begin(), found.end()), std::prev(found.end()));
  std::vector<std::string> paths;
  for (auto& [size, path] : found) paths.push_back(std::move(path));
  return paths;
}

struct Kill {
  int pid = 0;
  std::int64_t at_ns = 0;
};

class Job {
 public:
  Job(stem::Client& client, Observer& observer, std::vector<std::string> paths)
      : client_(client), observer_(observer), paths_(std::move(paths)), digests_(paths_.size()) {}

  // All but the largest file, whose turn comes half way.
  void enqueue() {
    started_ns_ = now_ns();
    auto many = client_.enqueue_many(file_digest, std::span(paths_).first(paths_.size() - 1));
    enqueued_ns_ = now_ns();
    if (many.error) throw std::runtime_error(many.error->message);
    handles_ = std::move(many.handles);
    for (std::size_t i = 0; i < handles_.size(); ++i) open_.push_back(i);
  }

  // Collects what is over. Once half is done, the largest file is enqueued ahead of all others, and the
  // worker that runs it is killed in the act.
  void run(WorkerProgram& workers) {
    const bool terminal = ::isatty(STDOUT_FILENO) == 1;
    std::int64_t shown_ns = 0;
    while (!open_.empty() || handles_.size() < paths_.size()) {
      if (interrupted) throw std::runtime_error("interrupted");
      if (!workers.running()) throw std::runtime_error("the worker program ended by itself");
      collect();
      if (!kill_ && handles_.size() < paths_.size() && open_.size() <= paths_.size() / 2) kill_one();
      if (now_ns() - shown_ns > 100'000'000 && terminal) {
        shown_ns = now_ns();
        show_progress();
      }
      std::this_thread::sleep_for(200us);
    }
    finished_ns_ = now_ns();
    if (terminal) fmt::print("\r\x1b[K");
  }

  void report_run() const {
    const double seconds = static_cast<double>(finished_ns_ - started_ns_) / 1e9;
    std::uint64_t lines = 0, words = 0, bytes = 0;
    for (const Digest& d : digests_) lines += d.lines, words += d.words, bytes += d.bytes;
    fmt::print("  {} files, {} lines, {} words, {:.1f} MB\n", digests_.size(), lines, words,
               static_cast<double>(bytes) / 1e6);
    fmt::print("  enqueued in {}, all done in {}: {:.0f} files/s, {:.0f} MB/s\n",
               human(static_cast<double>(enqueued_ns_ - started_ns_) / 1e9), human(seconds),
               static_cast<double>(digests_.size()) / seconds, static_cast<double>(bytes) / 1e6 / seconds);
    const auto duration = observer_.task("file.digest").duration;
    fmt::print("  one file: p50 {}, p99 {}\n", human(static_cast<double>(duration.percentile_ns(0.5)) / 1e9),
               human(static_cast<double>(duration.percentile_ns(0.99)) / 1e9));
  }

  // Where the victim's task was started again, and how soon after the kill.
  void report_kill() const {
    const Digest& again = digests_.back();
    if (!kill_ || again.attempt == 0) {
      fmt::print(
          "  no worker was killed in the act: the largest file was done too soon; try a folder with larger ones\n");
      return;
    }
    fmt::print("  worker {} got SIGKILL while it ran {}\n", kill_->pid, paths_.back());
    fmt::print("  the task started again on worker {}, {} after the kill\n", again.pid,
               human(static_cast<double>(again.started_ns - kill_->at_ns) / 1e9));
  }

  // Every file once, by our own list and by the segment's counters.
  bool check() const {
    const auto queue = observer_.queue("files");
    const auto count = [&queue](stem::shm::Counter c) { return queue.counters[c]; };
    const std::uint64_t enqueued = count(stem::shm::Counter::kEnqueued),
                        succeeded = count(stem::shm::Counter::kSucceeded);
    const bool exact = enqueued == paths_.size() && succeeded == paths_.size() && failed_.empty();
    fmt::print("  {} enqueued, {} succeeded, {} redelivered, {} dead: {}\n", enqueued, succeeded,
               count(stem::shm::Counter::kRedelivered), queue.dead, exact ? "every file exactly once" : "WRONG");
    for (const std::string& why : failed_) fmt::print("  {}\n", why);
    std::size_t checked = 0, wrong = 0;
    for (std::size_t i = 0; i < digests_.size(); i += std::max<std::size_t>(1, digests_.size() / kSample)) {
      const std::string difference = check_against_coreutils(paths_[i], digests_[i]);
      ++checked;
      if (difference.empty()) continue;
      ++wrong;
      fmt::print("  {}\n", difference);
    }
    fmt::print("  {} files checked against sha256sum and wc: {}\n", checked,
               wrong == 0 ? "all agree" : fmt::format("{} DIFFER", wrong));
    return exact && wrong == 0;
  }

  const std::string& smallest() const {
    return paths_[static_cast<std::size_t>(
        std::min_element(digests_.begin(), digests_.end(),
                         [](const Digest& a, const Digest& b) { return a.bytes < b.bytes; }) -
        digests_.begin())];
  }

 private:
  std::size_t done() const { return handles_.size() - open_.size(); }

  void collect() {
    std::erase_if(open_, [this](std::size_t i) {
      const auto state = handles_[i].state();
      if (!state || !stem::is_final(*state)) return false;
      auto digest = handles_[i].get(1s);
      if (digest) {
        digests_[i] = std::move(*digest);
      } else {
        failed_.push_back(paths_[i] + ": " + digest.error().message);
      }
      return true;
    });
  }

  void kill_one() {
    auto last = client_.enqueue(file_digest, paths_.back(), {.priority = 9});
    if (!last) throw std::runtime_error(last.error().message);
    open_.push_back(handles_.size());
    handles_.push_back(*last);
    const auto patience = std::chrono::steady_clock::now() + 1s;
    while (std::chrono::steady_clock::now() < patience && !stem::is_final(*last->state())) {
      for (const auto& worker : observer_.workers()) {
        if (worker.current != last->id()) continue;
        kill_ = Kill{static_cast<int>(worker.pid), now_ns()};
        ::kill(static_cast<pid_t>(worker.pid), SIGKILL);
        return;
      }
    }
  }

  void show_progress() const {
    const double seconds = static_cast<double>(now_ns() - started_ns_) / 1e9;
    const double share = static_cast<double>(done()) / static_cast<double>(paths_.size());
    fmt::print("\r  [{:<40}] {}/{}  {:.0f}/s\x1b[K", std::string(static_cast<std::size_t>(share * 40), '='), done(),
               paths_.size(), static_cast<double>(done()) / seconds);
    std::fflush(stdout);
  }

  stem::Client& client_;
  Observer& observer_;
  std::vector<std::string> paths_;
  std::vector<Digest> digests_;
  std::vector<stem::Handle<Digest>> handles_;
  std::vector<std::size_t> open_;  // indices of what is not over
  std::vector<std::string> failed_;
  std::optional<Kill> kill_;
  std::int64_t started_ns_ = 0, enqueued_ns_ = 0, finished_ns_ = 0;
};

// One task at a time on idle workers: enqueue, run, result back.
void report_round_trips(stem::Client& client, const std::string& path) {
  std::vector<std::int64_t> times;
  for (int i = 0; i < kRoundTrips; ++i) {
    const std::int64_t started = now_ns();
    auto handle = client.enqueue(file_digest, path);
    if (!handle || !handle->get(5s)) return;
    times.push_back(now_ns() - started);
  }
  std::sort(times.begin(), times.end());
  const auto at = [&times](double f) {
    return human(static_cast<double>(times[static_cast<std::size_t>(f * (kRoundTrips - 1))]) / 1e9);
  };
  fmt::print("  a task enqueued, run and answered (the smallest file): p50 {}, p99 {}\n", at(0.5), at(0.99));
}

void wait_for_workers(const Observer& observer, WorkerProgram& program, std::size_t wanted) {
  const auto patience = std::chrono::steady_clock::now() + 15s;
  while (observer.workers().size() < wanted) {
    if (!program.running()) throw std::runtime_error("the worker program could not start");
    if (std::chrono::steady_clock::now() > patience) throw std::runtime_error("the workers did not come up");
    std::this_thread::sleep_for(1ms);
  }
}

bool run(const std::string& folder, int workers) {
  auto paths = files_below(folder);
  if (paths.size() < 4) throw std::runtime_error(folder + ": at least four readable files are needed");
  const PrivateSegment own;
  auto client = stem::Client::open(own.name_space, {.task_capacity = static_cast<std::uint32_t>(paths.size() + 4096)});
  if (!client) throw std::runtime_error(client.error().message);
  Observer observer(own.name_space);
  WorkerProgram program(own.name_space, workers);
  wait_for_workers(observer, program, static_cast<std::size_t>(workers));
  fmt::print("{} workers:", workers);
  for (const auto& w : observer.workers())
    fmt::print("  {} (pid {}, core {})", w.name, w.pid, w.cpu < 0 ? "any" : std::to_string(w.cpu));
  fmt::print("\n\nChecksum and count of every file below {}\n", folder);
  Job job(*client, observer, std::move(paths));
  job.enqueue();
  job.run(program);
  job.report_run();
  fmt::print("\nThe kill, half way\n");
  job.report_kill();
  fmt::print("\nThe account\n");
  const bool good = job.check();
  fmt::print("\nLatency\n");
  wait_for_workers(observer, program, static_cast<std::size_t>(workers));  // the killed one has a successor
  report_round_trips(*client, job.smallest());
  return good;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App command("Checksums and counts every file below a folder, on Stem");
  std::string folder = "/usr/share/doc";
  int workers = 2;
  command.add_option("FOLDER", folder)->capture_default_str();
  command.add_option("--workers", workers, "Worker processes")->capture_default_str()->check(CLI::Range(1, 64));
  CLI11_PARSE(command, argc, argv);
  ::signal(SIGINT, [](int) { interrupted = true; });
  ::signal(SIGTERM, [](int) { interrupted = true; });
  try {
    return run(folder, workers) ? 0 : 70;
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}\n", e.what());
    return 70;
  }
}
