// A directory on disk as a Store: O_DIRECT and O_DSYNC where the file system takes them, io_uring where the kernel
// gives it, pwrite where not.
#pragma once

#include <atomic>

#include "journal/store.hpp"

namespace stem::journal {

// Makes the directory (0700) when it is not there. kWrongOwner when it is another user's, or others may write to it.
// The zeros that it writes to new files are counted in `zeroed_bytes`, which outlives it.
Result<std::unique_ptr<Store>> open_disk_store(const std::string& directory,
                                               std::atomic<std::uint64_t>* zeroed_bytes = nullptr);

// The right to write a directory's journal. The kernel gives it up when this process has gone, and not before.
class WriterLock {
 public:
  // kRefused: somebody else has it.
  static Result<WriterLock> take(const std::string& directory);
  WriterLock(WriterLock&& other) noexcept;
  WriterLock& operator=(WriterLock&&) = delete;
  ~WriterLock();

 private:
  explicit WriterLock(int fd) : fd_(fd) {}
  int fd_;
};

// Where journals of this user are: $STEM_JOURNAL_DIRECTORY, else $XDG_STATE_HOME/stem/journal, else
// ~/.local/state/stem/journal.
Result<std::string> default_directory();

// Says, while it is there, that somebody stands for the journal of a segment: so whoever holds the WriterLock does not
// take that segment for gone. A shared lock on a file of its own; a forked child that inherits it holds it too.
class SegmentMark {
 public:
  static Result<SegmentMark> take(const std::string& directory, std::uint32_t epoch);
  // Whether somebody has it. Removes what is left of one that nobody has.
  static bool is_held(const std::string& directory, std::uint32_t epoch);
  SegmentMark(SegmentMark&& other) noexcept;
  SegmentMark& operator=(SegmentMark&&) = delete;
  ~SegmentMark();

 private:
  explicit SegmentMark(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace stem::journal
