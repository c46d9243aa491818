// Virtual time, and what is to happen when. Two things of the same moment happen in the order in which they were noted,
// so that a seed is one history.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace stem::simulation {

constexpr std::int64_t kMicrosecondNs = 1'000;
constexpr std::int64_t kMillisecondNs = 1'000'000;
constexpr std::int64_t kSecondNs = 1'000'000'000;

class Timeline {
 public:
  std::int64_t now_ns() const { return now_ns_; }
  std::uint64_t events() const { return happened_; }

  // What lies in the past happens now.
  void at(std::int64_t when_ns, std::function<void()> what) {
    heap_.push_back({std::max(when_ns, now_ns_), noted_++, std::move(what)});
    std::push_heap(heap_.begin(), heap_.end(), later);
  }
  void after(std::int64_t wait_ns, std::function<void()> what) { at(now_ns_ + wait_ns, std::move(what)); }

  void run_until(std::int64_t until_ns) {
    while (!heap_.empty() && heap_.front().when_ns <= until_ns) {
      std::pop_heap(heap_.begin(), heap_.end(), later);
      const Event event = std::move(heap_.back());
      heap_.pop_back();
      now_ns_ = event.when_ns;
      ++happened_;
      event.what();
    }
    now_ns_ = std::max(now_ns_, until_ns);
  }

 private:
  struct Event {
    std::int64_t when_ns;
    std::uint64_t number;
    std::function<void()> what;
  };
  static bool later(const Event& a, const Event& b) {
    return a.when_ns != b.when_ns ? a.when_ns > b.when_ns : a.number > b.number;
  }

  std::vector<Event> heap_;
  std::int64_t now_ns_ = 0;
  std::uint64_t noted_ = 0, happened_ = 0;
};

}  // namespace stem::simulation
