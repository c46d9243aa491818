// What a user of the installed package compiles: a task, a worker for it, and a producer that waits for
// the result.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>

#include "stem/stem.hpp"
#include "stem/version.hpp"

inline constexpr stem::Task<int(int)> kDouble{"outside.double"};

// In a process of its own: a worker forks before it has threads.
static int work() {
  auto worker = stem::Worker::open({}, {.concurrency = 1, .pin = "none", .banner = false});
  if (!worker) {
    std::fprintf(stderr, "worker: %s\n", worker.error().message.c_str());
    return 1;
  }
  worker->on(kDouble, [](stem::Context&, const int& n) { return 2 * n; });
  return worker->run();
}

static int produce() {
  auto client = stem::Client::open();
  if (!client) {
    std::fprintf(stderr, "client: %s\n", client.error().message.c_str());
    return 1;
  }
  auto handle = client->enqueue(kDouble, 21);
  if (!handle) {
    std::fprintf(stderr, "enqueue: %s\n", handle.error().message.c_str());
    return 1;
  }
  auto result = handle->get(std::chrono::seconds(60));
  if (!result) {
    std::fprintf(stderr, "get: %s\n", result.error().message.c_str());
    return 1;
  }
  if (*result != 42) {
    std::fprintf(stderr, "21 doubled came back as %d\n", *result);
    return 1;
  }
  return 0;
}

int main() {
  const pid_t worker = fork();
  if (worker == 0) return work();
  int rc = produce();
  kill(worker, SIGTERM);
  int status = 0;
  waitpid(worker, &status, 0);
  if (status != 0) {
    std::fprintf(stderr, "the worker ended with wait status %d\n", status);
    rc = 1;
  }
  if (rc == 0) std::printf("stem %.*s\n", static_cast<int>(stem::kVersion.size()), stem::kVersion.data());
  return rc;
}
