// A directory on a real disk (not tmpfs) that goes when the test ends.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

namespace stem::test {

class DiskDirectory {
 public:
  DiskDirectory() : pid_(::getpid()) {
    std::string name = std::filesystem::temp_directory_path() / "stem-journal-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) {
      std::perror("mkdtemp");
      std::abort();
    }
    path_ = name;
  }
  ~DiskDirectory() {
    if (pid_ != ::getpid()) return;
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  DiskDirectory(const DiskDirectory&) = delete;
  DiskDirectory& operator=(const DiskDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int pid_;
};

}  // namespace stem::test
