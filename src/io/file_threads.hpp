// Files for the epoll driver: the kernel calls every file ready and then blocks, so a few threads do them.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/result.hpp"
#include "io/driver.hpp"

namespace stem::io {

class FileThreads {
 public:
  static constexpr std::size_t kThreads = 4;

  static Result<std::unique_ptr<FileThreads>> create();
  // Waits for the operations that threads are in the middle of.
  ~FileThreads();
  FileThreads(const FileThreads&) = delete;
  FileThreads& operator=(const FileThreads&) = delete;

  // Readable when something is done.
  int fd() const { return fd_; }
  void start(std::uint32_t slot, const Request& request);
  // True when no thread had begun it: it never will be. One that is begun is finished.
  bool cancel(std::uint32_t slot);
  // Appends what is done.
  void take(std::vector<Done>& done);

 private:
  explicit FileThreads(int fd) : fd_(fd) {}
  void run();

  struct Job {
    std::uint32_t slot = 0;
    const Request* request = nullptr;
  };
  int fd_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<Job> waiting_;  // guarded
  std::vector<Done> done_;   // guarded
  bool ending_ = false;      // guarded
  std::vector<std::thread> threads_;
};

}  // namespace stem::io
