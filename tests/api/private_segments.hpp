// Every test has segments of its own: a directory that is gone afterwards.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>

namespace stem::api_tests {

class PrivateSegments {
 public:
  PrivateSegments() {
    char name[] = "/dev/shm/stem-api-test-XXXXXX";
    directory_ = ::mkdtemp(name);
    ::setenv("STEM_SHM_DIRECTORY", directory_.c_str(), 1);
  }
  ~PrivateSegments() {
    ::unsetenv("STEM_SHM_DIRECTORY");
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }
  const std::string& directory() const { return directory_; }

 private:
  std::string directory_;
};

}  // namespace stem::api_tests
