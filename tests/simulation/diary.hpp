// What happened, for people: the last lines of a history are shown when it went wrong, all of them with --trace.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <cstdio>
#include <deque>
#include <string>
#include <utility>

#include "base/random.hpp"
#include "tests/simulation/timeline.hpp"

namespace stem::simulation {

class Diary {
 public:
  Diary(const Timeline& time, bool trace) : time_(time), trace_(trace) {}

  template <class... Args>
  void note(fmt::format_string<Args...> text, Args&&... args) {
    const std::int64_t now_ns = time_.now_ns();
    std::string line = fmt::format("{:4}.{:06} ", now_ns / kSecondNs, now_ns % kSecondNs / kMicrosecondNs);
    fmt::format_to(std::back_inserter(line), text, std::forward<Args>(args)...);
    for (const char c : line) digest_ = base::mix64(digest_ ^ static_cast<unsigned char>(c));
    if (trace_) std::fprintf(stdout, "%s\n", line.c_str());
    lines_.push_back(std::move(line));
    if (lines_.size() > kKept) lines_.pop_front();
  }
  const std::deque<std::string>& last() const { return lines_; }
  // Of all lines: the same for the same history.
  std::uint64_t digest() const { return digest_; }

 private:
  static constexpr std::size_t kKept = 60;
  const Timeline& time_;
  bool trace_;
  std::deque<std::string> lines_;
  std::uint64_t digest_ = 1;
};

}  // namespace stem::simulation
