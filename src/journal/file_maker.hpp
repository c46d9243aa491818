// Makes new journal files. Their blocks are reserved first, so that nothing is refused for room inside a file; then they
// are filled with zeros in the time that the journal's writer leaves. A write to a block of zeros is the quickest (no
// journal commit of the file system), but at full speed each byte would be written twice: then a file is taken with the
// zeros that it has, and the blocks behind them are only reserved. They read as zeros, too.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>

#include "base/result.hpp"

namespace stem::journal {

// What the writer asks of the disk: told by him, and heeded by whoever makes the next file. Thread-safe; a hint, so its
// orders are relaxed.
class DiskLoad {
 public:
  // A write begins; it is over.
  void begin(std::uint64_t bytes) noexcept;
  void end() noexcept;
  // How long the disk is to be left alone, as far as is known now; 0 = it has time.
  std::int64_t busy_for_ns() const noexcept;

 private:
  std::atomic<std::int64_t> busy_until_ns_{0};
};

// Not thread-safe.
class FileMaker {
 public:
  // Both outlive it. The bytes of zeros that it writes are added to `zeroed_bytes`.
  FileMaker(const DiskLoad& load, std::atomic<std::uint64_t>& zeroed_bytes)
      : load_(load), zeroed_bytes_(zeroed_bytes) {}
  ~FileMaker();  // what nobody took goes
  FileMaker(const FileMaker&) = delete;
  FileMaker& operator=(const FileMaker&) = delete;

  // A file of zeros, written here and now; nothing is left of one that is not whole.
  Result<void> make(const std::string& path, std::uint64_t bytes);

  // Begins to make a file with a thread of its own. Only a head start: where no thread is to be had nothing is begun.
  void begin(const std::string& path, std::uint64_t bytes);
  bool has_begun() const noexcept { return thread_.joinable(); }
  // Ends it, after the chunk on its way. True when it was this file, and its blocks are there on stable storage: all of
  // them zeros, or reserved. Nothing is left of another one.
  bool take(const std::string& path, std::uint64_t bytes);

 private:
  enum class Haste { kNone, kAll };
  Result<void> make_at_leisure(const std::stop_token& stop);
  Result<void> fill(int fd, const std::string& path, std::uint64_t bytes, Haste haste, const std::stop_token& stop);
  bool wait(std::int64_t ns, const std::stop_token& stop);

  const DiskLoad& load_;
  std::atomic<std::uint64_t>& zeroed_bytes_;
  // The thread's until it has been joined; it is joinable until somebody has taken the file.
  std::string path_;
  std::uint64_t bytes_ = 0;
  bool is_whole_ = false;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  bool wanted_ = false;  // under the mutex: somebody waits for the file
  std::jthread thread_;
};

}  // namespace stem::journal
