// Decisions out of a fuzzer's bytes, in order; zeros once they are used up.
#pragma once

#include <cstdint>

#include "targets.hpp"

namespace stem::fuzz {

class Input {
 public:
  explicit Input(Bytes bytes) : bytes_(bytes) {}
  bool empty() const { return bytes_.empty(); }
  std::uint8_t byte() {
    if (bytes_.empty()) return 0;
    const std::uint8_t first = bytes_.front();
    bytes_ = bytes_.subspan(1);
    return first;
  }
  template <class T>
  T number() {
    T value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) value = static_cast<T>(value << 8 | byte());
    return value;
  }
  std::uint64_t below(std::uint64_t bound) { return bound == 0 ? 0 : number<std::uint32_t>() % bound; }
  Bytes rest() const { return bytes_; }

 private:
  Bytes bytes_;
};

}  // namespace stem::fuzz
