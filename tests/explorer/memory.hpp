// The store history of every location, and what each actor may see of it. See machine.hpp for the rules.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "machine.hpp"

namespace explorer {

inline constexpr int kMostActors = 4;

// By location: the number of the oldest store that may still be returned.
class View {
 public:
  std::uint32_t of(std::uint32_t location) const noexcept { return location < oldest_.size() ? oldest_[location] : 0; }
  void raise(std::uint32_t location, std::uint32_t to) {
    if (location >= oldest_.size()) oldest_.resize(location + 1, 0);
    if (oldest_[location] < to) oldest_[location] = to;
  }
  void join(const View& other) {
    if (oldest_.size() < other.oldest_.size()) oldest_.resize(other.oldest_.size(), 0);
    for (std::size_t i = 0; i < other.oldest_.size(); ++i)
      if (oldest_[i] < other.oldest_[i]) oldest_[i] = other.oldest_[i];
  }
  void clear() noexcept { oldest_.clear(); }
  void swap(View& other) noexcept { oldest_.swap(other.oldest_); }

 private:
  std::vector<std::uint32_t> oldest_;
};

struct Store {
  std::uint64_t value = 0;
  View carried;  // what a reader that acquires takes over
};

struct Location {
  void* at = nullptr;
  unsigned bytes = 0;
  std::vector<Store> stores;  // kept between executions for their memory; `count` are in use
  std::uint32_t count = 0;
  std::uint32_t ordered = 0;  // the newest that a sequentially consistent operation has read or written
};

struct Sight {
  View now;       // what the actor may see
  View pending;   // what it takes over at its next acquire fence
  View released;  // as it was at its last release fence
};

class Memory {
 public:
  // The number of a location; made on its first use, with what is there now as its first store.
  std::uint32_t at(const void* address, unsigned bytes);
  Location& operator[](std::uint32_t id) { return locations_[id]; }
  Sight& sight(int actor) { return sights_[static_cast<std::size_t>(actor)]; }

  // The newest store, and all that a load of this order may return: from `oldest` on.
  std::uint32_t newest(std::uint32_t id) const { return locations_[id].count - 1; }
  std::uint32_t oldest(int actor, std::uint32_t id, bool ordered) const;
  std::uint64_t read(int actor, std::uint32_t id, std::uint32_t which, std::memory_order order);
  void write(int actor, std::uint32_t id, std::uint64_t value, std::memory_order order);
  // Reads the newest and replaces it; a chain of these hands on what the first release carried.
  void replace(int actor, std::uint32_t id, std::uint64_t value, std::memory_order order);
  void fence(int actor, std::memory_order order);
  // True when the actor has not seen the newest store: a plain write now would be a race.
  bool races(int actor, std::uint32_t id) const { return sights_[std::size_t(actor)].now.of(id) < newest(id); }
  // The actor takes over all that `other` has seen: it is over.
  void join(int actor, int other) { sight(actor).now.join(sight(other).now); }
  // Takes the newest store away, which nobody has read.
  void drop_newest(std::uint32_t id);

  bool seen_by_others(int actor, std::uint32_t id) const;

  // What copies are modelled in, and what is as it was after each execution.
  void watch(const void* from, std::size_t bytes) { watched_.push_back({static_cast<const std::byte*>(from), bytes}); }
  void unwatch() { watched_.clear(); }
  bool watched(const void* at) const;
  // Before writes outside of actors; and everything as it was before the first of them.
  void remember(void* at, std::size_t bytes);
  void rewind();
  void forget_histories();

 private:
  struct Slot {
    const void* at = nullptr;
    std::uint32_t id = 0;
    std::uint64_t age = 0;
  };
  struct Original {  // at most eight bytes
    std::byte* at;
    std::size_t bytes;
    std::uint64_t was;
  };
  struct Range {
    const std::byte* from;
    std::size_t bytes;
  };
  static constexpr std::size_t kSlots = 1 << 13;

  Store& push(Location& location, std::uint64_t value);

  std::vector<Slot> table_ = std::vector<Slot>(kSlots);
  std::uint64_t age_ = 1;
  std::vector<Location> locations_;
  std::uint32_t used_ = 0;
  std::array<Sight, kMostActors> sights_;
  std::vector<Original> originals_;
  std::vector<Range> watched_;
};

}  // namespace explorer
