#include "worker/crash_handler.hpp"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <ctime>

#include "shm/doorbell.hpp"

namespace stem::worker {
namespace {

constexpr std::size_t kStackBytes = 64 * 1024;
alignas(64) std::byte g_stack[kStackBytes];

struct Witness {
  std::atomic<shm::RosterRow*> row{nullptr};
  shm::Segment* segment = nullptr;
  std::uint32_t supervisor = 0;
  pid_t pid = 0;
};
Witness g_witness;

void on_crash(int signal, siginfo_t* info, void*) {
  shm::RosterRow* row = g_witness.row.load(std::memory_order_acquire);
  // A forked child of a handler has no mapping and is not the worker.
  if (row != nullptr && ::getpid() == g_witness.pid) {
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    row->crash.signal = signal;
    row->crash.code = info->si_code;
    row->crash.fault_address = reinterpret_cast<std::uint64_t>(info->si_addr);
    row->crash.at_realtime_ns = now.tv_sec * 1'000'000'000 + now.tv_nsec;
    // order(crash.record): release; pairs with the acquire in Children::looks_dead() and in the engine's
    // recovery: signal, code and address are complete before the task names them.
    row->crash.task.store(row->current.load(std::memory_order_relaxed), std::memory_order_release);
    shm::ring(*g_witness.segment, g_witness.supervisor);
  }
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  ::sigaction(signal, &standard, nullptr);
  // A fault happens again on return, now with the right registers for the core file; a signal that was
  // sent must be sent again.
  if (info->si_code <= 0) ::syscall(SYS_tgkill, ::getpid(), ::syscall(SYS_gettid), signal);
}

}  // namespace

void install_crash_handler(shm::Participant& self, std::uint32_t supervisor) {
  g_witness.segment = &self.segment();
  g_witness.supervisor = supervisor;
  g_witness.pid = ::getpid();
  g_witness.row.store(&self.row(), std::memory_order_release);
  stack_t stack{};
  stack.ss_sp = g_stack;
  stack.ss_size = sizeof g_stack;
  ::sigaltstack(&stack, nullptr);
  struct sigaction action {};
  action.sa_sigaction = on_crash;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigfillset(&action.sa_mask);
  for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT}) ::sigaction(signal, &action, nullptr);
}

void forget_crash_row() noexcept { g_witness.row.store(nullptr, std::memory_order_release); }

}  // namespace stem::worker
