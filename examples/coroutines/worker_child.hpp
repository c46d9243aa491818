// A worker of this very program, as a child process, and the namespace that both use. Both end with the object.
#pragma once

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>

#include "stem/client.hpp"
#include "stem/worker.hpp"

class WorkerChild {
 public:
  WorkerChild(const stem::WorkerOptions& options, const std::function<void(stem::Worker&)>& add)
      : name_space_("example-" + std::to_string(::getpid())), pid_(::fork()) {
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    auto worker = stem::Worker::open(name_space_, options);
    if (!worker) {
      std::fprintf(stderr, "%s\n", worker.error().message.c_str());
      std::_Exit(1);
    }
    add(*worker);
    std::_Exit(worker->run());
  }
  ~WorkerChild() {
    ::kill(pid_, SIGTERM);
    ::waitpid(pid_, nullptr, 0);
    (void)stem::Client::destroy(name_space_);
  }
  WorkerChild(const WorkerChild&) = delete;
  WorkerChild& operator=(const WorkerChild&) = delete;

  const std::string& name_space() const { return name_space_; }

 private:
  std::string name_space_;
  pid_t pid_;
};
