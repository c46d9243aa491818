#include "worker/stop_signals.hpp"

#include <signal.h>

namespace stem::worker {
namespace {

std::atomic<std::atomic<std::uint32_t>*> g_doorbell{nullptr};
std::atomic<std::uint32_t> g_terms{0};
std::atomic<std::uint32_t> g_interrupts{0};
std::atomic<std::uint32_t> g_quits{0};

constexpr int kSignals[] = {SIGTERM, SIGINT, SIGQUIT, SIGCHLD};

void on_signal(int signal) {
  if (signal == SIGTERM) g_terms.fetch_add(1);
  if (signal == SIGINT) g_interrupts.fetch_add(1);
  if (signal == SIGQUIT) g_quits.fetch_add(1);
  // No futex wake: the sleeper is the thread that this handler interrupts, and the changed word keeps it
  // from falling asleep.
  if (auto* doorbell = g_doorbell.load()) doorbell->fetch_add(1);
}

}  // namespace

StopSignals::StopSignals(std::atomic<std::uint32_t>& doorbell) {
  g_terms = g_interrupts = g_quits = 0;
  g_doorbell = &doorbell;
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigfillset(&action.sa_mask);
  for (const int signal : kSignals) ::sigaction(signal, &action, nullptr);
  action.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &action, nullptr);
}

StopSignals::~StopSignals() {
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  for (const int signal : kSignals) ::sigaction(signal, &action, nullptr);
  g_doorbell = nullptr;
}

StopMode StopSignals::wanted() const noexcept {
  if (g_quits > 0 || g_interrupts > 1) return StopMode::kHard;
  if (g_interrupts > 0 || g_terms > 1) return StopMode::kSoft;
  return g_terms > 0 ? StopMode::kWarm : StopMode::kNone;
}

}  // namespace stem::worker
