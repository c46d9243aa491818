#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <thread>

#include "../worker_tasks.hpp"
#include "stem/worker.hpp"

namespace stem::api_tests {
namespace {

std::int64_t now_ns() { return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count(); }

Span busy(int ms) {
  const std::int64_t start = now_ns();
  std::this_thread::sleep_for(std::chrono::milliseconds(ms));
  return {start, now_ns(), ::getpid()};
}

// Waits for the stop token; a test that fails does not hang for ever.
std::string wait_for_stop(Context& c) {
  for (int i = 0; i < 10'000 && !c.stop_requested(); ++i) std::this_thread::sleep_for(1ms);
  return c.stop_requested() ? "stopped" : "never stopped";
}

void register_all(Worker& worker) {
  worker.on(repeat, [](Context&, const Request& r) {
    std::string text;
    for (int i = 0; i < r.count; ++i) text += r.name;
    return text;
  });
  worker.on(throws, [](Context&, int) -> int { throw std::out_of_range("too far"); });
  worker.on(dies_once, [](Context& c, int n) {
    if (c.attempt() == 0) ::kill(::getpid(), SIGKILL);
    return n;
  });
  worker.on(alone, [](Context&, int ms) { return busy(ms); });
  worker.on(where, [](Context&, int ms) { return busy(ms); });
  worker.on(until_stopped, [](Context& c, int) { return wait_for_stop(c); });
  worker.on(soft, [](Context& c, int) { return wait_for_stop(c); });
  worker.on(hard, [](Context&, int) { return std::this_thread::sleep_for(20s), 1; });
  worker.on(
      retried_by_us,
      [](Context& c, int) -> int {
        if (c.attempt() < 2) throw std::runtime_error("again");
        return static_cast<int>(c.attempt());
      },
      [](std::uint32_t, std::string_view) -> std::optional<Duration> { return 1ms; });
  worker.on(parent, [](Context& c, int n) {
    auto child = c.enqueue(repeat, {"x", n});
    return child ? 1 : 0;
  });
  worker.on_raw("reverse",
                [](Context&, BytesView bytes) -> Outcome<Bytes> { return Bytes(bytes.rbegin(), bytes.rend()); });
  if (const char* path = std::getenv("STEM_TEST_EVENTS")) {
    worker.on_event([file = std::string(path)](const Event& e) {
      std::ofstream(file, std::ios::app) << e.name << " " << e.task << " " << e.by << "\n";
      if (e.name == "task-retry") throw std::runtime_error("a listener that throws");
    });
  }
}

}  // namespace
}  // namespace stem::api_tests

int main(int argc, char** argv) {
  return stem::worker_main(argc, argv, [](stem::Worker& worker) {
    stem::api_tests::register_all(worker);
    if (::getenv("STEM_TEST_BAD_RATE") != nullptr)
      worker.on(stem::Task<int(int)>{"bad", {.rate_limit = "ten per second"}}, [](stem::Context&, int n) { return n; });
  });
}
