// The limiter keys that hold back most, for `stem top`.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "shm/segment.hpp"

namespace stem::cli {

struct LimitFigures {
  std::uint64_t key = 0;
  std::string name;           // "queue mail, rate"; a hash where the key is a task's
  std::uint64_t denied = 0;   // starts that were held back, ever
  double denied_rate = 0;     // a second
  std::uint32_t holders = 0;  // places of a concurrency limit that are taken
};

// Remembers the last look, for the rates.
class LimitWatch {
 public:
  // Those that hold back most now first, then those that ever did.
  std::vector<LimitFigures> look(shm::Segment& segment, std::int64_t now_ns);

 private:
  std::map<std::uint64_t, std::uint64_t> denied_;
  std::int64_t looked_ns_ = 0;
};

}  // namespace stem::cli
