// How far a long command is: one line on stderr that is drawn anew, if stderr is a terminal, and nothing
// otherwise.
#pragma once

#include <cstdint>
#include <string_view>

#include "tools/stem/terminal.hpp"

namespace stem::cli {

class ProgressBar {
 public:
  // `total` is what done counts up to; 0 when nobody knows.
  explicit ProgressBar(std::uint64_t total);
  ~ProgressBar() { clear(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // Cheap: draws at most ten times a second. `text` stands behind the bar.
  template <class Text>
  void show(std::uint64_t done, Text text) {
    if (shown_ && due()) draw(done, text());
  }
  // Takes the line away, so that other output may follow.
  void clear();

 private:
  bool due();
  void draw(std::uint64_t done, std::string_view text);

  std::uint64_t total_;
  bool shown_;
  bool drawn_ = false;
  std::int64_t next_ns_ = 0;
  Style style_;
};

}  // namespace stem::cli
