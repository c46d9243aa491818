#include "tools/stem/progress_bar.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>

#include "base/clock.hpp"

namespace stem::cli {
namespace {

constexpr std::int64_t kRedrawNs = 100'000'000;
constexpr std::size_t kCells = 24;

}  // namespace

ProgressBar::ProgressBar(std::uint64_t total)
    : total_(total), shown_(isatty(STDERR_FILENO) != 0), style_(Style::of_stderr()) {}

bool ProgressBar::due() {
  const std::int64_t now_ns = base::monotonic_ns();
  if (now_ns < next_ns_) return false;
  next_ns_ = now_ns + kRedrawNs;
  return true;
}

void ProgressBar::draw(std::uint64_t done, std::string_view text) {
  std::string bar;
  if (total_ > 0) {
    const double share = std::min(1.0, static_cast<double>(done) / static_cast<double>(total_));
    const auto full = static_cast<std::size_t>(share * kCells);
    for (std::size_t i = 0; i < kCells; ++i) bar += i < full ? "█" : "░";
    bar = fmt::format("{} {:3.0f} %  ", style_.paint(Tone::kGood, bar), share * 100);
  }
  fmt::print(stderr, "\r\x1b[K{}{}", bar, text);
  std::fflush(stderr);
  drawn_ = true;
}

void ProgressBar::clear() {
  if (!drawn_) return;
  fmt::print(stderr, "\r\x1b[K");
  std::fflush(stderr);
  drawn_ = false;
}

}  // namespace stem::cli
