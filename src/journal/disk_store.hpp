// A directory on disk as a Store: O_DIRECT and O_DSYNC where the file system takes them, io_uring where the kernel
// gives it, pwrite where not.
#pragma once

#include "journal/store.hpp"

namespace stem::journal {

// Makes the directory (0700) when it is not there. kWrongOwner when it is another user's, or others may write to it.
Result<std::unique_ptr<Store>> open_disk_store(const std::string& directory);

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

}  // namespace stem::journal
