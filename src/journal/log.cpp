#include "journal/log.hpp"

#include <algorithm>
#include <random>

namespace stem::journal {
namespace {

std::uint64_t fresh_salt() {
  std::random_device device;
  return std::uint64_t{device()} << 32 | device();
}

}  // namespace

Result<void> Log::start(Batch& batch) {
  const std::uint64_t bytes = whole_blocks(batch.bytes());
  if (bytes > file_bytes_ - kBlockBytes)
    return Error{Errc::kTooLarge, "a journal batch of " + std::to_string(bytes) + " bytes fits into no file"};
  if (!fits(batch.bytes())) {
    if (auto turned = turn_over(); !turned.ok()) return turned.error().within("a new journal file");
  }
  BatchHeader header;
  header.lsn = ++lsn_;
  header.durable_lsn = durable_lsn_;
  header.salt = salt_;
  in_flight_bytes_ = bytes;
  auto started = file_->start(offset_, batch.seal(header));
  if (!started.ok()) file_.reset();
  return started;
}

Result<void> Log::finish() {
  if (auto done = file_->finish(); !done.ok()) {
    file_.reset();
    return done.error();
  }
  offset_ += in_flight_bytes_;
  written_bytes_ += in_flight_bytes_;
  durable_lsn_ = lsn_;
  return {};
}

// The first page is on disk before the file has its name, and the name before its first batch.
Result<void> Log::turn_over() {
  file_.reset();
  auto spare = take_spare();
  if (!spare.ok()) return spare.error();
  FileHeader header;
  header.salt = fresh_salt();
  header.sequence = sequence_ + 1;
  header.first_lsn = lsn_ + 1;
  header.durable_lsn = durable_lsn_;
  header.checksum = checksum_of(header);
  alignas(kBlockBytes) std::byte page[kBlockBytes] = {};
  std::memcpy(page, &header, sizeof header);
  auto done = (*spare)->start(0, page);
  if (done.ok()) done = (*spare)->finish();
  if (!done.ok()) {
    (void)store_.remove(kSpareName);  // never written again
    return done.error();
  }
  if (done = store_.rename(kSpareName, file_name(header.sequence)); !done.ok()) return done.error();
  sequence_ = header.sequence;  // used up, whatever becomes of it
  if (done = store_.sync_names(); !done.ok()) return done.error();
  file_ = std::move(*spare);
  salt_ = header.salt;
  offset_ = kBlockBytes;
  written_bytes_ += kBlockBytes;
  return {};
}

Result<std::unique_ptr<StoreFile>> Log::take_spare() {
  auto names = store_.names();
  if (!names.ok()) return names.error();
  if (std::find(names->begin(), names->end(), kSpareName) != names->end()) {
    auto spare = store_.open(kSpareName);
    if (spare.ok() && (*spare)->bytes() == file_bytes_) return spare;
  }
  return store_.create(kSpareName, file_bytes_);
}

Result<void> Log::recycle(std::uint64_t sequence) {
  auto names = store_.names();
  if (!names.ok()) return names.error();
  const bool has_spare = std::find(names->begin(), names->end(), kSpareName) != names->end();
  const bool is_there = std::find(names->begin(), names->end(), file_name(sequence)) != names->end();
  if (!is_there) return store_.sync_names();  // the last try went so far
  auto gone = has_spare ? store_.remove(file_name(sequence)) : store_.rename(file_name(sequence), kSpareName);
  if (!gone.ok()) return gone.error();
  // Before the next older one may go, or the spare is written: names come back in no order.
  return store_.sync_names();
}

}  // namespace stem::journal
