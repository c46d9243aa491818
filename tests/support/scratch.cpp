#include "tests/support/scratch.hpp"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "tests/support/must.hpp"

namespace stem::test {

ScratchDirectory::ScratchDirectory() : pid_(::getpid()) {
  char name[] = "/dev/shm/stem-test-XXXXXX";
  if (::mkdtemp(name) == nullptr) {
    std::perror("mkdtemp in /dev/shm");
    std::abort();
  }
  path_ = name;
}

ScratchDirectory::~ScratchDirectory() {
  if (pid_ != ::getpid()) return;
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

shm::SegmentOptions small_segment(const ScratchDirectory& directory) {
  shm::SegmentOptions options;
  options.name_space = "test";
  options.directory = directory.path();
  options.slot_count = 4096;
  options.participant_count = 64;
  options.queue_count = 64;
  options.task_count = 64;
  options.block_bytes = 256ull << 20;
  return options;
}

std::shared_ptr<shm::Segment> must_create(const shm::SegmentOptions& options) {
  return must(shm::Segment::create(options), "create a test segment");
}

std::shared_ptr<shm::Segment> must_attach(const std::string& name_space, const std::string& directory) {
  return must(shm::Segment::attach(name_space, directory), "attach to a test segment");
}

}  // namespace stem::test
