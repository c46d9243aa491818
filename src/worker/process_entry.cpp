// The first steps of a forked worker process: what it must not inherit, and what ties it to its supervisor.
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>

#include "base/log.hpp"
#include "worker/pinning.hpp"
#include "worker/worker_process.hpp"

namespace stem::worker {
namespace {

ChildPage* g_page = nullptr;

// SIGTERM to one worker process, or its supervisor's death: finish and leave. The sleep of the loop
// ends by EINTR.
void on_terminate(int) {
  if (g_page == nullptr) return;
  g_page->raise_stop(StopMode::kWarm);
  g_page->ring_bell();
}

void take_over_signals(ChildPage* page) {
  g_page = page;
  struct sigaction action {};
  action.sa_handler = on_terminate;
  ::sigaction(SIGTERM, &action, nullptr);
  action.sa_handler = SIG_IGN;
  // Ctrl-C and Ctrl-\ reach the whole foreground group; the supervisor decides what they mean.
  for (const int signal : {SIGINT, SIGQUIT, SIGPIPE}) ::sigaction(signal, &action, nullptr);
  action.sa_handler = SIG_DFL;
  ::sigaction(SIGCHLD, &action, nullptr);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

}  // namespace

void run_worker_process(const ProcessSetup& setup) noexcept {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  ::prctl(PR_SET_TIMERSLACK, 1UL);
  take_over_signals(setup.page);
  if (::getppid() != setup.supervisor_pid) ::_exit(0);  // it died before the line above
  ProcessSetup own = setup;
  if (own.core >= 0) {
    const int wanted = own.core;
    own.core = pin_to(wanted);
    if (own.core != wanted) log::warn("cannot pin worker", {{"worker", own.name}, {"core", wanted}});
  }
  WorkerProcess(own).run();
  std::fflush(nullptr);
  ::_exit(0);  // not the parent's destructors and atexit functions
}

}  // namespace stem::worker
