// A directory for segments that is the test's own and goes when the test ends.
#pragma once

#include <memory>
#include <string>

#include "shm/segment.hpp"

namespace stem::test {

// An empty directory under /dev/shm; removed with everything in it on destruction, but only by the
// process that made it (a forked child leaves it alone).
class ScratchDirectory {
 public:
  ScratchDirectory();
  ~ScratchDirectory();
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
  int pid_;
};

// Options of a small segment in `directory`: quick to make, quick to scan.
shm::SegmentOptions small_segment(const ScratchDirectory& directory);

// Creates or attaches; ends the test program when that fails.
std::shared_ptr<shm::Segment> must_create(const shm::SegmentOptions& options);
std::shared_ptr<shm::Segment> must_attach(const std::string& name_space, const std::string& directory);

}  // namespace stem::test
