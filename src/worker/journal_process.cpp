#include "worker/journal_process.hpp"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>

#include "base/log.hpp"
#include "journal/serve.hpp"
#include "shm/journal_line.hpp"
#include "shm/names.hpp"

namespace stem::worker {
namespace {

constexpr std::int64_t kLookNs = 500'000'000;

std::atomic<bool> g_stop{false};
std::atomic<pid_t> g_supervisor{0};

// Only the supervisor's own word counts, or its death: a signal to all processes at once (as systemd sends it) must not
// end the writer before the workers have acknowledged what they have in hand.
void on_terminate(int, siginfo_t* info, void*) {
  const pid_t supervisor = g_supervisor.load(std::memory_order_relaxed);
  if (info->si_pid == supervisor || ::getppid() != supervisor) g_stop.store(true, std::memory_order_relaxed);
}

journal::ServeOptions serve_options(const shm::Segment& segment) {
  return {.name_space = segment.name_space(),
          .shm_directory = std::filesystem::path(segment.path()).parent_path().string(),
          .directory = {},
          .writer = {}};
}

[[noreturn]] void run_journal_process(const journal::ServeOptions& options, pid_t supervisor) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  ::prctl(PR_SET_NAME, "stem-journal");
  g_supervisor.store(supervisor, std::memory_order_relaxed);
  struct sigaction action {};
  action.sa_flags = SA_SIGINFO;
  action.sa_sigaction = on_terminate;
  ::sigaction(SIGTERM, &action, nullptr);
  action = {};
  action.sa_handler = SIG_IGN;
  for (const int signal : {SIGINT, SIGQUIT, SIGPIPE, SIGHUP, SIGUSR1, SIGUSR2}) ::sigaction(signal, &action, nullptr);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (::getppid() != supervisor) ::_exit(0);
  const auto served = journal::serve(options, [] { return g_stop.load(std::memory_order_relaxed); });
  if (!served.ok()) log::error("journal", {{"error", served.error().message}});
  ::_exit(served.ok() ? 0 : 1);
}

}  // namespace

JournalProcess::~JournalProcess() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGTERM);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

bool JournalProcess::wanted() const {
  for (std::uint32_t queue = 0; queue < shm::queue_total(segment_); ++queue)
    if (shm::durability_of(segment_, queue) != shm::Durability::kMemory) return true;
  const auto directory = journal::directory_of(serve_options(segment_));
  return directory.ok() && journal::has_files(*directory);
}

void JournalProcess::start() {
  const journal::ServeOptions options = serve_options(segment_);
  if (const auto directory = journal::directory_of(options); !mark_ && directory.ok())
    if (auto taken = journal::SegmentMark::take(*directory, segment_.epoch()); taken.ok())
      mark_.emplace(std::move(*taken));
  const pid_t supervisor = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) run_journal_process(options, supervisor);
  if (pid < 0) log::error("cannot fork the journal's process", {{"error", system_error("fork").message}});
  pid_ = pid < 0 ? 0 : pid;
}

std::int64_t JournalProcess::step(std::int64_t now_ns) {
  if (pid_ > 0) {
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) != pid_) return INT64_MAX;  // the keeper's looks are often enough
    pid_ = 0;
    log::warn("the journal's process has ended; another follows", {{"status", status}});
    look_ns_ = status == 0 ? now_ns : now_ns + kLookNs;
  }
  if (now_ns < look_ns_) return look_ns_;
  look_ns_ = now_ns + kLookNs;
  if (wanted()) start();
  return look_ns_;
}

}  // namespace stem::worker
