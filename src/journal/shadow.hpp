// What the journal last said of each slot: the writer's memory. Comparing it with the slab is all that the writer does.
//
// Not thread-safe.
#pragma once

#include <cstdint>
#include <vector>

namespace stem::journal {

struct Said {
  static constexpr std::uint32_t kNothing = ~0u;  // the image is there, its state may be old
  static constexpr std::uint32_t kResult = ~1u;   // it is over, and its result is there
  static constexpr std::uint32_t kEnding = ~2u;   // ... or will be, once what it left behind has been said
  static constexpr std::uint64_t kOnItsWay = ~std::uint64_t{0};

  std::uint64_t generation = 0;  // of the task whose image is in the journal; 0 = none
  std::uint64_t sequence = 0;    // file of that image; kOnItsWay until it is written
  std::uint32_t stamp = kNothing;
  std::uint32_t bytes = 0;  // of the image
  bool doubtful = false;    // the image may not have reached the disk
  std::uint16_t items_over =
      0;  // of a run: of these the journal says so already; its stamp has those that it is to say
};

class Shadow {
 public:
  explicit Shadow(std::uint32_t slots) : said_(slots) {}

  std::uint32_t size() const noexcept { return static_cast<std::uint32_t>(said_.size()); }
  const Said& of(std::uint32_t slot) const noexcept { return said_[slot]; }
  std::uint64_t live_bytes() const noexcept { return live_bytes_; }

  void image(std::uint32_t slot, std::uint64_t generation, std::uint32_t stamp, std::uint64_t bytes,
             std::uint64_t sequence = Said::kOnItsWay) noexcept {
    forget(slot);
    said_[slot] = {generation, sequence, stamp, static_cast<std::uint32_t>(bytes), false, 0};
    live_bytes_ += bytes;
  }
  void state(std::uint32_t slot, std::uint32_t stamp) noexcept { said_[slot].stamp = stamp; }
  void items(std::uint32_t slot, std::uint32_t over) noexcept {
    said_[slot].items_over = static_cast<std::uint16_t>(said_[slot].items_over | over);
  }
  void written(std::uint32_t slot, std::uint64_t sequence) noexcept {
    if (said_[slot].sequence == Said::kOnItsWay) said_[slot].sequence = sequence;
  }
  void forget(std::uint32_t slot) noexcept {
    live_bytes_ -= said_[slot].bytes;
    said_[slot] = {};
  }
  // A write failed: which images it had is not worth knowing, all are written again.
  void doubt_all() noexcept {
    for (Said& said : said_) said.doubtful = said.generation != 0;
  }

 private:
  std::vector<Said> said_;
  std::uint64_t live_bytes_ = 0;
};

}  // namespace stem::journal
