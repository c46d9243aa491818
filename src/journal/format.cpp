#include "journal/format.hpp"

#include <fmt/format.h>
#include <xxhash.h>

#include <charconv>
#include <memory>

namespace stem::journal {
namespace {

constexpr std::string_view kSuffix = ".journal";
constexpr std::size_t kDigits = 20;

}  // namespace

std::uint64_t checksum_of(const FileHeader& header) noexcept {
  return ::XXH3_64bits_withSeed(&header, offsetof(FileHeader, checksum), header.salt);
}

std::uint64_t checksum_of_batch(std::span<const std::byte> batch, std::uint64_t salt) noexcept {
  BatchHeader header;
  std::memcpy(&header, batch.data(), sizeof header);
  header.checksum = 0;
  const std::uint64_t records =
      ::XXH3_64bits_withSeed(batch.data() + sizeof header, batch.size() - sizeof header, salt);
  return ::XXH3_64bits_withSeed(&header, sizeof header, records);
}

std::optional<FileHeader> read_file_header(std::span<const std::byte> file) noexcept {
  FileHeader header;
  if (file.size() < kBlockBytes) return std::nullopt;
  std::memcpy(&header, file.data(), sizeof header);
  if (header.magic != kFileMagic || header.checksum != checksum_of(header)) return std::nullopt;
  if (header.first_lsn == 0 || header.first_lsn > kMostNumber) return std::nullopt;
  return header;
}

bool looks_like_batch(std::span<const std::byte> rest, std::uint64_t salt) noexcept {
  BatchHeader header;
  if (rest.size() < sizeof header) return false;
  std::memcpy(&header, rest.data(), sizeof header);
  return header.magic == kBatchMagic && header.salt == salt;
}

std::optional<BatchHeader> read_batch(std::span<const std::byte> rest, std::uint64_t salt) noexcept {
  if (!looks_like_batch(rest, salt)) return std::nullopt;
  BatchHeader header;
  std::memcpy(&header, rest.data(), sizeof header);
  if (header.bytes > rest.size() - sizeof header || header.lsn > kMostNumber) return std::nullopt;
  if (header.checksum != checksum_of_batch(rest.first(sizeof header + header.bytes), salt)) return std::nullopt;
  return header;
}

std::string file_name(std::uint64_t sequence) { return fmt::format("{:020}{}", sequence, kSuffix); }

std::optional<std::uint64_t> sequence_of(const std::string& name) {
  if (name.size() != kDigits + kSuffix.size() || !name.ends_with(kSuffix)) return std::nullopt;
  std::uint64_t sequence = 0;
  const auto read = std::from_chars(name.data(), name.data() + kDigits, sequence);
  if (read.ec != std::errc() || read.ptr != name.data() + kDigits || sequence > kMostNumber) return std::nullopt;
  return sequence;
}

}  // namespace stem::journal
