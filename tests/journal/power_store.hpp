// A Store in memory that remembers every write and every change of a name, and can say what a disk may hold if power
// is lost after any of them: what was synced, and of the rest any part.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/random.hpp"
#include "journal/store.hpp"

namespace stem::journal {

inline constexpr std::uint64_t kFileBytes = 8 * kBlockBytes;  // soon full

// The bytes of a disk: names, and what they stand for.
using Image = std::map<std::string, std::vector<std::byte>>;

class PowerStore final : public Store {
 public:
  PowerStore() = default;
  explicit PowerStore(const Image& image);

  Result<std::vector<std::string>> names() override;
  Result<std::unique_ptr<StoreFile>> create(const std::string& name, std::uint64_t bytes) override;
  void prepare(const std::string& name, std::uint64_t bytes) override;
  Result<std::unique_ptr<StoreFile>> open(const std::string& name) override;
  Result<Contents> read(const std::string& name) override;
  Result<void> rename(const std::string& from, const std::string& to) override;
  Result<void> remove(const std::string& name) override;
  Result<void> sync_names() override;

  // The n-th write from now (0 = the next) ends like this; -1 = none does. kUnheard: all of it arrives, and who wrote it
  // is told that it failed, as if he had been killed before he could go on.
  enum class Fault { kNone, kShort, kError, kUnheard };
  void fail_write(int n, Fault how) { fail_in_ = n, fault_ = how; }
  void refuse_new_files(bool refuse) { full_ = refuse; }
  void before_rename(std::function<void()> look) { before_rename_ = std::move(look); }
  // Writes to a file after one of its writes failed: there must be none.
  int writes_after_failure() const { return writes_after_failure_; }

  int created() const { return created_; }  // files that were not prepared

  // ---- power
  std::size_t events() const { return events_.size(); }
  // Everything that was written, as if nothing had been lost.
  Image image() const;
  // Calls `check` with disks that may be left when power is lost right after `event` events: every prefix of sectors of
  // the write on its way, `subsets` random sets of its sectors, with every set of name changes that are not synced.
  void lose_power(std::size_t event, int subsets, base::Random& random,
                  const std::function<void(const Image&)>& check) const;

  struct Node {
    std::vector<std::byte> bytes;
    bool failed = false;
  };

 private:
  friend class PowerFile;
  struct Event {
    enum class Kind { kCreate, kStart, kFinish, kRename, kRemove, kSync } kind;
    std::string name, to;
    std::size_t node = 0;
    std::uint64_t offset = 0;
    std::vector<std::byte> bytes;  // kStart; of kCreate its size
  };
  struct Disk;

  std::vector<Event> events_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::map<std::string, std::size_t> names_;
  Image start_;
  int fail_in_ = -1;
  Fault fault_ = Fault::kNone;
  bool full_ = false;
  int writes_after_failure_ = 0;
  int created_ = 0;
  std::string prepared_;
  std::function<void()> before_rename_;
};

}  // namespace stem::journal
