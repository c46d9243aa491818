#include "journal/reader.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace stem::journal {
namespace {

constexpr std::uint64_t kNoFence = ~std::uint64_t{0};
// What looks like a batch and is none costs a checksum over all that it claims to be. What is merely damaged claims no
// more than its file has.
constexpr std::uint64_t kMostClaimed = 8;  // times the file

class Reader {
 public:
  Reader(OnDamage on_damage, const std::function<bool(const Record&)>& visit) : on_damage_(on_damage), visit_(visit) {}

  // False when the rest is not to be read. `fence`: the first LSN of the next file, where that is known. What is not
  // below it was still on its way when its writer was killed, and came after the next writer had read the journal: he
  // has begun anew without it, and knows nothing of it.
  bool file(std::uint64_t sequence, std::span<const std::byte> bytes, std::uint64_t fence);

  ReadReport report;

 private:
  bool batches(const FileHeader& header, std::span<const std::byte> bytes, FileReport& file);
  bool records(std::span<const std::byte> rest, std::uint32_t count, FileReport& file);
  std::optional<std::uint64_t> next_whole(const FileHeader& header, std::span<const std::byte> bytes,
                                          std::uint64_t from, BatchHeader& found);
  bool damaged(std::uint64_t sequence, std::uint64_t offset, std::string what, std::uint64_t last_lsn);

  OnDamage on_damage_;
  const std::function<bool(const Record&)>& visit_;
  bool any_ = false;  // a file has been read
  std::uint64_t fence_ = kNoFence;
  std::uint64_t claimed_bytes_ = 0;  // in this file, by what looked like a batch behind a gap
  // Where the last file ended, should the next one say that there was more.
  std::uint64_t ended_sequence_ = 0, ended_offset_ = 0;
};

bool Reader::damaged(std::uint64_t sequence, std::uint64_t offset, std::string what, std::uint64_t last_lsn) {
  report.damage.push_back({file_name(sequence), offset, std::move(what), report.last.lsn + 1, last_lsn});
  return on_damage_ == OnDamage::kSkip;
}

bool Reader::file(std::uint64_t sequence, std::span<const std::byte> bytes, std::uint64_t fence) {
  fence_ = fence;
  claimed_bytes_ = 0;
  FileReport file{.sequence = sequence, .bytes = bytes.size()};
  const auto header = read_file_header(bytes);
  report.last.sequence = sequence;
  const bool other = header && (header->version < kOldestVersion || header->version > kFormatVersion);
  if (!header || other || header->sequence != sequence) {
    report.files.push_back(file);
    return damaged(sequence, 0,
                   other ? fmt::format("format version {}, this program reads {} to {}: use the release that wrote it",
                                       header->version, kOldestVersion, kFormatVersion)
                         : "the first page does not check",
                   report.last.lsn + 1);
  }
  if (any_ && header->durable_lsn > report.last.lsn) {
    const bool next = sequence == ended_sequence_ + 1;
    const std::uint64_t lost = next ? ended_sequence_ : ended_sequence_ + 1;
    if (!damaged(lost, next ? ended_offset_ : 0,
                 next ? "a batch that was on disk does not check" : "the file is missing", header->durable_lsn)) {
      report.files.push_back(file);
      return false;
    }
  }
  any_ = true;
  report.last.lsn = std::max(report.last.lsn, header->first_lsn - 1);
  file.used_bytes = kBlockBytes;
  const bool go_on = batches(*header, bytes, file);
  report.files.push_back(file);
  return go_on;
}

bool Reader::batches(const FileHeader& header, std::span<const std::byte> bytes, FileReport& file) {
  std::uint64_t at = kBlockBytes;
  std::uint64_t expected = header.first_lsn;
  while (at < bytes.size()) {
    auto batch = read_batch(bytes.subspan(at), header.salt);
    if (batch && batch->lsn >= fence_) {
      file.torn = true;
      break;
    }
    if (!batch || batch->lsn != expected) {
      // (1) Nothing whole after it: the tail. Whether it is missed, only the next file can say.
      // (2) A later batch: this one was on disk before that was begun.
      BatchHeader later;
      const auto next = next_whole(header, bytes, at + kBlockBytes, later);
      if (claimed_bytes_ > kMostClaimed * bytes.size()) {
        if (!damaged(header.sequence, at, "too much behind it looks like a batch and is none", report.last.lsn))
          return false;
        break;
      }
      if (!next || later.lsn <= expected || later.lsn >= fence_) {
        file.torn = looks_like_batch(bytes.subspan(at), header.salt);
        break;
      }
      if (!damaged(header.sequence, at, "a batch that was on disk does not check", later.lsn - 1)) return false;
      at = *next;
      batch = later;
    }
    report.last.lsn = batch->lsn;
    expected = batch->lsn + 1;
    ++file.batches;
    if (!records(bytes.subspan(at + sizeof(BatchHeader), batch->bytes), batch->records, file) &&
        !damaged(header.sequence, at, "a record makes no sense", batch->lsn))
      return false;
    at += whole_blocks(sizeof(BatchHeader) + batch->bytes);
    file.used_bytes = at;
  }
  ended_sequence_ = header.sequence;
  ended_offset_ = at;
  return true;
}

std::optional<std::uint64_t> Reader::next_whole(const FileHeader& header, std::span<const std::byte> bytes,
                                                std::uint64_t from, BatchHeader& found) {
  for (std::uint64_t at = from; at < bytes.size(); at += kBlockBytes) {
    const auto rest = bytes.subspan(at);
    if (!looks_like_batch(rest, header.salt)) continue;
    BatchHeader claim;
    std::memcpy(&claim, rest.data(), sizeof claim);
    if (claim.bytes <= rest.size()) claimed_bytes_ += claim.bytes;
    if (claimed_bytes_ > kMostClaimed * bytes.size()) return std::nullopt;
    const auto batch = read_batch(rest, header.salt);
    if (!batch) continue;
    found = *batch;
    return at;
  }
  return std::nullopt;
}

bool Reader::records(std::span<const std::byte> rest, std::uint32_t count, FileReport& file) {
  for (std::uint32_t i = 0; i < count; ++i) {
    RecordHeader header;
    if (rest.size() < sizeof header) return false;
    std::memcpy(&header, rest.data(), sizeof header);
    rest = rest.subspan(sizeof header);
    if (header.bytes > rest.size()) return false;
    if (!visit_({header.type, rest.first(header.bytes), report.last.sequence})) return false;
    rest = rest.subspan(header.bytes);
    ++file.records;
  }
  return rest.empty();
}

}  // namespace

std::uint64_t ReadReport::torn_tails() const {
  return static_cast<std::uint64_t>(std::count_if(files.begin(), files.end(), [](const auto& f) { return f.torn; }));
}

std::string describe(const Damage& d) {
  const std::string lost =
      d.last_lsn < d.first_lsn ? "" : fmt::format("; batches {} to {} are lost", d.first_lsn, d.last_lsn);
  return fmt::format("{} at byte {}: {}{}", d.file, d.offset, d.what, lost);
}

Result<ReadReport> read_journal(Store& store, OnDamage on_damage, const std::function<bool(const Record&)>& visit,
                                std::vector<Contents>* keep) {
  auto names = store.names();
  if (!names.ok()) return names.error();
  std::vector<std::uint64_t> sequences;
  for (const std::string& name : *names)
    if (const auto sequence = sequence_of(name)) sequences.push_back(*sequence);
  std::sort(sequences.begin(), sequences.end());
  Reader reader(on_damage, visit);
  Contents next;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    Contents now = std::move(next);
    for (const std::size_t ahead : {i, i + 1}) {  // the next one's first page says where this one ends
      if (ahead >= sequences.size() || (ahead == i && i != 0)) continue;
      auto contents = store.read(file_name(sequences[ahead]));
      if (!contents.ok()) return contents.error();  // what cannot be read is no torn tail
      (ahead == i ? now : next) = std::move(*contents);
    }
    const auto header = i + 1 < sequences.size() ? read_file_header(next.span()) : std::nullopt;
    const bool go_on = reader.file(sequences[i], now.span(), header ? header->first_lsn : kNoFence);
    if (keep != nullptr) keep->push_back(std::move(now));
    if (!go_on) break;
  }
  // Also after damage: a new file must not take the name of one that is there.
  if (!sequences.empty()) reader.report.last.sequence = sequences.back();
  if (std::max(reader.report.last.sequence, reader.report.last.lsn) > kMostNumber / 2)
    return Error{Errc::kCorrupt, "the journal is numbered as no writer numbers it"};
  return std::move(reader.report);
}

}  // namespace stem::journal
