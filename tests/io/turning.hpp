// A loop of a test's own, on each back end in turn. Where the kernel refuses io_uring the tests of that back end fail:
// a machine that develops Stem has it.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>

#include "io/loop.hpp"

namespace stem::test {

class OnBothBackends : public testing::TestWithParam<io::Backend> {
 protected:
  void SetUp() override {
    auto made = io::Loop::create(GetParam());
    ASSERT_TRUE(made.ok()) << made.error().message;
    loop_ = *std::move(made);
  }

  io::Loop& loop() { return *loop_; }
  void end_loop() { loop_.reset(); }

  // Turns the loop until `condition()` holds; false when that takes more than ten seconds.
  template <class Condition>
  [[nodiscard]] bool turn_until(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      if (!loop_->run_once(1'000'000).ok()) return false;
    }
    return true;
  }

 private:
  std::unique_ptr<io::Loop> loop_;
};

inline std::string backend_name(const testing::TestParamInfo<io::Backend>& info) {
  return info.param == io::Backend::kUring ? "uring" : "epoll";
}

}  // namespace stem::test
