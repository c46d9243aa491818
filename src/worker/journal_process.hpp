// The supervisor's journal process: there as soon as a queue has a journal, or a journal has something to bring back;
// replaced when it dies. It heeds no SIGTERM but its supervisor's. Of several supervisors' one writes, the others stand by (journal/serve.hpp).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "journal/disk_store.hpp"
#include "shm/segment.hpp"

namespace stem::worker {

class JournalProcess {
 public:
  explicit JournalProcess(const shm::Segment& segment) : segment_(segment) {}
  ~JournalProcess();  // ends it, and waits: what has changed until now reaches the disk. After the workers' end
  JournalProcess(const JournalProcess&) = delete;
  JournalProcess& operator=(const JournalProcess&) = delete;

  // Returns when to look again.
  std::int64_t step(std::int64_t now_ns);

 private:
  bool wanted() const;
  void start();

  const shm::Segment& segment_;
  std::optional<journal::SegmentMark> mark_;  // also while no process of ours is there
  pid_t pid_ = 0;
  std::int64_t look_ns_ = 0;
};

}  // namespace stem::worker
