// Appends batches to journal files: one write at a time, each on disk when finish() has said so. Files are turned over
// when full, and given up for good when a write fails.
//
// Not thread-safe. The store and the batch on its way outlive it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.hpp"
#include "journal/batch.hpp"
#include "journal/store.hpp"

namespace stem::journal {

struct LogPosition {
  std::uint64_t sequence = 0;  // of the last file there is
  std::uint64_t lsn = 0;       // of the last batch there is, whole
};

class Log {
 public:
  // Behind what has been read; a new file is begun by the first start().
  Log(Store& store, std::uint64_t file_bytes, LogPosition last)
      : store_(store), file_bytes_(file_bytes), sequence_(last.sequence), lsn_(last.lsn), durable_lsn_(last.lsn) {}

  // Writes the batch; it stays until finish(). After an error of either the file is given up, and what the batch says
  // is not known to be on disk: the next start() begins a new file. kTooLarge: it fits into no file.
  Result<void> start(Batch& batch);
  Result<void> finish();

  // Begins a new file; also where the current one has room.
  Result<void> turn_over();

  std::uint64_t sequence() const noexcept { return sequence_; }  // of the file that was written last
  std::uint64_t durable_lsn() const noexcept { return durable_lsn_; }
  std::uint64_t written_bytes() const noexcept { return written_bytes_; }
  // True when a batch of that many bytes goes into the current file.
  bool fits(std::uint64_t bytes) const noexcept {
    return file_ != nullptr && whole_blocks(bytes) <= file_->bytes() - offset_;
  }
  std::uint64_t filled() const noexcept { return offset_; }  // bytes of the current file
  // A file that is not needed any more becomes the spare one, or goes.
  Result<void> recycle(std::uint64_t sequence);

 private:
  Result<std::unique_ptr<StoreFile>> take_spare();

  Store& store_;
  std::uint64_t file_bytes_;
  std::unique_ptr<StoreFile> file_;
  std::uint64_t salt_ = 0;
  std::uint64_t sequence_;
  std::uint64_t lsn_;  // given out last
  std::uint64_t durable_lsn_;
  std::uint64_t offset_ = 0;
  std::uint64_t in_flight_bytes_ = 0;
  std::uint64_t written_bytes_ = 0;
};

}  // namespace stem::journal
