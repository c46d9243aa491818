// The worker program as a child of this one; told to stop, and waited for, on destruction.
#pragma once

#include <sys/types.h>

#include <string>

class WorkerProgram {
 public:
  // Ends this program with a sentence when the other cannot be started.
  WorkerProgram(const std::string& name_space, int processes);
  ~WorkerProgram();
  WorkerProgram(const WorkerProgram&) = delete;
  WorkerProgram& operator=(const WorkerProgram&) = delete;

  bool running();

 private:
  pid_t pid_ = -1;
};
