#include "tests/simulation/canary.hpp"

namespace stem::simulation {

using federation::Queued;

namespace {

constexpr std::string_view kNames[] = {
    "none",          "resend-unread",     "no-fence",  "let-go-unanswered", "acknowledge-early",
    "no-renewal",    "impatient-reclaim", "no-delete", "no-result",         "settle-unasked",
    "forget-pending"};

}  // namespace

std::string_view to_string(Canary canary) { return kNames[static_cast<int>(canary)]; }

bool parse(std::string_view text, Canary& canary) {
  for (std::size_t i = 0; i < std::size(kNames); ++i) {
    if (kNames[i] != text) continue;
    canary = static_cast<Canary>(i);
    return true;
  }
  return false;
}

Queued CanaryRedis::command(std::span<const std::string_view> argv, federation::ReplyHandler handler,
                            std::int64_t block_ns) {
  return to_.command(argv, std::move(handler), block_ns);
}

}  // namespace stem::simulation
