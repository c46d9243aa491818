// Journal files, byte by byte; little-endian, as the machines are that Stem runs on. docs/journal.md has the picture.
// Change procedure: raise kFormatVersion when the meaning of a byte changes; a reader refuses other versions by name.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>

#include "journal/store.hpp"

namespace stem::journal {

inline constexpr std::uint64_t kFileMagic = 0x31304c4e524a5453ull;  // "STJRNL01"
inline constexpr std::uint32_t kBatchMagic = 0x4b544142u;           // "BATK"
inline constexpr std::uint32_t kFormatVersion = 3;
inline constexpr std::uint32_t kOldestVersion = 1;  // that is read: it had fewer kinds of records

// Sequences and LSNs beyond it are no writer's. One that reads half of it gives up: so it never writes what it will refuse.
inline constexpr std::uint64_t kMostNumber = std::uint64_t{1} << 62;

// The first block of a file; zeros after it.
struct FileHeader {
  std::uint64_t magic = kFileMagic;
  std::uint32_t version = kFormatVersion;
  std::uint32_t reserved = 0;
  std::uint64_t salt = 0;         // of all its batches
  std::uint64_t sequence = 0;     // also its name
  std::uint64_t first_lsn = 0;    // of its first batch
  std::uint64_t durable_lsn = 0;  // batches up to here were on disk, in earlier files
  std::uint64_t checksum = 0;     // seeded with the salt, of all above
};
static_assert(sizeof(FileHeader) == 56);

struct BatchHeader {
  std::uint32_t magic = kBatchMagic;
  std::uint32_t bytes = 0;  // of the records that follow
  std::uint64_t lsn = 0;
  std::uint32_t records = 0;
  std::uint32_t reserved = 0;
  std::uint64_t durable_lsn = 0;  // batches up to here were on disk when this one was issued
  std::uint64_t salt = 0;
  std::uint64_t checksum = 0;  // seeded with the salt: of the header with 0 here, and the records
};
static_assert(sizeof(BatchHeader) == 48);

struct RecordHeader {
  std::uint32_t bytes = 0;  // of the body
  std::uint32_t type = 0;   // RecordType (records.hpp)
};
static_assert(sizeof(RecordHeader) == 8);

constexpr std::uint64_t whole_blocks(std::uint64_t bytes) {
  return (bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
}

std::uint64_t checksum_of(const FileHeader& header) noexcept;
// `batch`: a header and its records side by side; the header's own checksum counts as 0.
std::uint64_t checksum_of_batch(std::span<const std::byte> batch, std::uint64_t salt) noexcept;

// The header of a file's contents when it checks.
std::optional<FileHeader> read_file_header(std::span<const std::byte> file) noexcept;
// The header of the batch at the front of `rest` when the whole batch checks.
std::optional<BatchHeader> read_batch(std::span<const std::byte> rest, std::uint64_t salt) noexcept;
// Whether something begins at the front of `rest` that was meant to be a batch of this file.
bool looks_like_batch(std::span<const std::byte> rest, std::uint64_t salt) noexcept;

std::string file_name(std::uint64_t sequence);
// Empty when it is not the name of a journal file.
std::optional<std::uint64_t> sequence_of(const std::string& name);
inline constexpr const char* kSpareName = "spare";
inline constexpr const char* kUnfinishedSuffix = ".unfinished";  // of a file that is only being made

}  // namespace stem::journal
