#include "tests/journal/power_store.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace stem::journal {
namespace {

constexpr std::size_t kSectorBytes = 512;
constexpr std::size_t kMostNameChanges = 5;

}  // namespace

class PowerFile final : public StoreFile {
 public:
  PowerFile(PowerStore& store, std::size_t node) : store_(store), node_(node) {}
  std::uint64_t bytes() const override { return store_.nodes_[node_]->bytes.size(); }

  Result<void> start(std::uint64_t offset, std::span<const std::byte> from) override {
    PowerStore::Node& node = *store_.nodes_[node_];
    if (node.failed) ++store_.writes_after_failure_;
    if (offset % kBlockBytes != 0 || from.size() % kBlockBytes != 0 || offset + from.size() > node.bytes.size())
      return Error{Errc::kInvalidArgument, "a write that is not of whole blocks of the file"};
    store_.events_.push_back({PowerStore::Event::Kind::kStart, {}, {}, node_, offset, {from.begin(), from.end()}});
    offset_ = offset;
    from_ = from;
    return {};
  }

  Result<void> finish() override {
    PowerStore::Node& node = *store_.nodes_[node_];
    const bool fails = store_.fail_in_ == 0;
    if (store_.fail_in_ >= 0) --store_.fail_in_;
    std::size_t wrote = from_.size();
    if (fails && store_.fault_ == PowerStore::Fault::kShort) wrote /= 2;
    if (fails && store_.fault_ == PowerStore::Fault::kError) wrote = 0;
    std::memcpy(node.bytes.data() + offset_, from_.data(), wrote);
    if (fails) {
      node.failed = true;  // stays on its way for ever, as far as power is concerned
      return Error{Errc::kSystem, store_.fault_ == PowerStore::Fault::kShort ? "short write" : "Input/output error"};
    }
    store_.events_.push_back({PowerStore::Event::Kind::kFinish, {}, {}, node_, offset_, {}});
    return {};
  }

 private:
  PowerStore& store_;
  std::size_t node_;
  std::uint64_t offset_ = 0;
  std::span<const std::byte> from_;
};

PowerStore::PowerStore(const Image& image) : start_(image) {
  for (const auto& [name, bytes] : image) {
    names_[name] = nodes_.size();
    nodes_.push_back(std::make_unique<Node>(Node{bytes, false}));
  }
}

Result<std::vector<std::string>> PowerStore::names() {
  std::vector<std::string> all;
  for (const auto& [name, node] : names_) all.push_back(name);
  return all;
}

Result<std::unique_ptr<StoreFile>> PowerStore::create(const std::string& name, std::uint64_t bytes) {
  const bool prepared = std::exchange(prepared_, {}) == name;
  if (full_ && !prepared) return Error{Errc::kSystem, "create " + name + ": No space left on device"};
  const std::size_t node = nodes_.size();
  nodes_.push_back(std::make_unique<Node>(Node{std::vector<std::byte>(bytes), false}));
  names_[name] = node;
  events_.push_back({Event::Kind::kCreate, name, {}, node, bytes, {}});
  if (!prepared) ++created_;
  return open(name);
}

void PowerStore::prepare(const std::string& name, std::uint64_t) {
  if (!full_ && !names_.contains(name)) prepared_ = name;
}

Result<std::unique_ptr<StoreFile>> PowerStore::open(const std::string& name) {
  const auto found = names_.find(name);
  if (found == names_.end()) return Error{Errc::kNotFound, name};
  return std::unique_ptr<StoreFile>(std::make_unique<PowerFile>(*this, found->second));
}

Result<Contents> PowerStore::read(const std::string& name) {
  const auto found = names_.find(name);
  if (found == names_.end()) return Error{Errc::kNotFound, name};
  const std::vector<std::byte>& bytes = nodes_[found->second]->bytes;
  Contents all;
  all.bytes = bytes.size();
  all.data = std::make_unique<std::byte[]>(bytes.size());
  std::memcpy(all.data.get(), bytes.data(), bytes.size());
  return all;
}

Result<void> PowerStore::rename(const std::string& from, const std::string& to) {
  const auto found = names_.find(from);
  if (found == names_.end()) return Error{Errc::kNotFound, from};
  if (before_rename_) before_rename_();
  names_[to] = found->second;
  names_.erase(from);
  events_.push_back({Event::Kind::kRename, from, to, 0, 0, {}});
  return {};
}

Result<void> PowerStore::remove(const std::string& name) {
  if (names_.erase(name) == 0) return Error{Errc::kNotFound, name};
  events_.push_back({Event::Kind::kRemove, name, {}, 0, 0, {}});
  return {};
}

Result<void> PowerStore::sync_names() {
  events_.push_back({Event::Kind::kSync, {}, {}, 0, 0, {}});
  return {};
}

Image PowerStore::image() const {
  Image image;
  for (const auto& [name, node] : names_) image[name] = nodes_[node]->bytes;
  return image;
}

// A disk as its events have left it: what is certain, and what is on its way.
struct PowerStore::Disk {
  std::map<std::size_t, std::vector<std::byte>> nodes;
  std::map<std::string, std::size_t> names;
  std::vector<const Event*> loose_names;
  std::vector<const Event*> loose_writes;

  static void apply_name(std::map<std::string, std::size_t>& names, const Event& e) {
    if (e.kind == Event::Kind::kCreate) {
      names[e.name] = e.node;
    } else if (e.kind == Event::Kind::kRemove) {
      names.erase(e.name);
    } else if (const auto found = names.find(e.name); found != names.end()) {
      const std::size_t node = found->second;
      names.erase(found);
      names[e.to] = node;
    }
  }

  void apply(const Event& e) {
    switch (e.kind) {
      case Event::Kind::kCreate:  // create() promises that the zeros are there, not yet the name
        nodes[e.node] = std::vector<std::byte>(e.offset);
        loose_names.push_back(&e);
        break;
      case Event::Kind::kRename:
      case Event::Kind::kRemove: loose_names.push_back(&e); break;
      case Event::Kind::kSync:
        for (const Event* change : loose_names) apply_name(names, *change);
        loose_names.clear();
        break;
      case Event::Kind::kStart: loose_writes.push_back(&e); break;
      case Event::Kind::kFinish:
        for (const Event* write : loose_writes)
          if (write->node == e.node && write->offset == e.offset)
            std::memcpy(nodes[e.node].data() + write->offset, write->bytes.data(), write->bytes.size());
        std::erase_if(loose_writes, [&](const Event* w) { return w->node == e.node && w->offset == e.offset; });
        break;
    }
  }
};

void PowerStore::lose_power(std::size_t event, int subsets, base::Random& random,
                            const std::function<void(const Image&)>& check) const {
  Disk disk;
  std::size_t first = 0;
  for (const auto& [name, bytes] : start_) {
    disk.names[name] = first;
    disk.nodes[first++] = bytes;
  }
  for (std::size_t i = 0; i < event; ++i) disk.apply(events_[i]);
  const std::size_t changes = std::min(disk.loose_names.size(), kMostNameChanges);
  for (std::size_t set = 0; set < (std::size_t{1} << changes); ++set) {
    auto names = disk.names;
    for (std::size_t i = 0; i < changes; ++i)
      if ((set >> i & 1) != 0) Disk::apply_name(names, *disk.loose_names[i]);
    const auto leave = [&](const std::function<bool(std::size_t)>& has_sector) {
      auto nodes = disk.nodes;
      for (const Event* write : disk.loose_writes) {
        for (std::size_t sector = 0; sector * kSectorBytes < write->bytes.size(); ++sector) {
          if (!has_sector(sector)) continue;
          const std::size_t at = sector * kSectorBytes;
          std::memcpy(nodes[write->node].data() + write->offset + at, write->bytes.data() + at, kSectorBytes);
        }
      }
      Image image;
      for (const auto& [name, node] : names) image[name] = nodes[node];
      check(image);
    };
    if (disk.loose_writes.empty()) {
      leave([](std::size_t) { return false; });
      continue;
    }
    const std::size_t sectors = disk.loose_writes.back()->bytes.size() / kSectorBytes;
    for (std::size_t n = 0; n <= sectors; ++n) leave([n](std::size_t sector) { return sector < n; });
    for (int i = 0; i < subsets; ++i) leave([&random](std::size_t) { return random.below(2) == 0; });
  }
}

}  // namespace stem::journal
