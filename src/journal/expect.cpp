#include "journal/expect.hpp"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "journal/disk_store.hpp"
#include "journal/live_set.hpp"
#include "journal/serve.hpp"
#include "journal/writer.hpp"

namespace stem::journal {
namespace {

// The files of a store from one of them on: each stands by itself, so what queues are like stands in the last of them.
class NewerFiles final : public Store {
 public:
  NewerFiles(Store& store, std::uint64_t first) : store_(store), first_(first) {}

  Result<std::vector<std::string>> names() override {
    auto names = store_.names();
    if (names.ok())
      std::erase_if(*names, [this](const std::string& name) { return sequence_of(name).value_or(0) < first_; });
    return names;
  }
  Result<Contents> read(const std::string& name) override { return store_.read(name); }
  Result<std::unique_ptr<StoreFile>> create(const std::string&, std::uint64_t) override { return refused(); }
  void prepare(const std::string&, std::uint64_t) override {}
  Result<std::unique_ptr<StoreFile>> open(const std::string&) override { return refused(); }
  Result<void> rename(const std::string&, const std::string&) override { return refused(); }
  Result<void> remove(const std::string&) override { return refused(); }
  Result<void> sync_names() override { return refused(); }

 private:
  static Error refused() { return {Errc::kRefused, "only to be read"}; }

  Store& store_;
  std::uint64_t first_;
};

bool is_of_queues(const Record& record) {
  const auto type = static_cast<RecordType>(record.type);
  return type == RecordType::kSettings || type == RecordType::kQueue;
}

// From the newest file that has a whole batch on: one that was only begun says nothing yet.
Result<void> expect_queues(shm::Segment& segment) {
  const auto directory = directory_of({.name_space = segment.name_space(),
                                       .shm_directory = std::filesystem::path(segment.path()).parent_path().string(),
                                       .directory = {},
                                       .writer = {}});
  if (!directory.ok() || !has_files(*directory)) return {};
  const auto store = open_disk_store(*directory);
  if (!store.ok()) return store.error();
  const auto names = (*store)->names();
  if (!names.ok()) return names.error();
  std::vector<std::uint64_t> sequences;
  for (const std::string& name : *names)
    if (const auto sequence = sequence_of(name)) sequences.push_back(*sequence);
  std::sort(sequences.rbegin(), sequences.rend());
  std::string damage;
  for (const std::uint64_t sequence : sequences) {
    NewerFiles files(**store, sequence);
    LiveSet live;
    const auto read = read_journal(
        files, OnDamage::kSkip, [&live](const Record& record) { return !is_of_queues(record) || live.apply(record); });
    if (!read.ok()) return read.error().within("the journal in " + *directory);
    if (!read->damage.empty()) damage = describe(read->damage.front());
    if (read->files.empty() || read->files.front().batches == 0) continue;
    restore_queues(segment, live);
    return {};
  }
  if (damage.empty()) return {};  // nothing was ever written
  return Error{Errc::kCorrupt, "the journal in " + *directory + " does not say which queues it keeps (" + damage +
                                   "); `stem journal repair --dry-run` says what can be saved"};
}

shm::SegmentOptions with_queues(shm::SegmentOptions options) {
  options.prepare = expect_queues;
  return options;
}

}  // namespace

Result<std::shared_ptr<shm::Segment>> create(const shm::SegmentOptions& options) {
  return shm::Segment::create(with_queues(options));
}

Result<std::shared_ptr<shm::Segment>> open_or_create(const shm::SegmentOptions& options) {
  return shm::Segment::open_or_create(with_queues(options));
}

}  // namespace stem::journal
