#include "federation/redis_error.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace stem::federation {
namespace {

constexpr std::array<std::pair<std::string_view, RedisError>, 21> kWords{{
    {"NOAUTH", RedisError::kNoAuth},
    {"WRONGPASS", RedisError::kWrongPass},
    {"NOPERM", RedisError::kNoPerm},
    {"READONLY", RedisError::kReadOnly},
    {"LOADING", RedisError::kLoading},
    {"MASTERDOWN", RedisError::kMasterDown},
    {"CLUSTERDOWN", RedisError::kClusterDown},
    {"TRYAGAIN", RedisError::kTryAgain},
    {"MOVED", RedisError::kMoved},
    {"ASK", RedisError::kAsk},
    {"CROSSSLOT", RedisError::kCrossSlot},
    {"OOM", RedisError::kOutOfMemory},
    {"MISCONF", RedisError::kMisconfigured},
    {"NOREPLICAS", RedisError::kNoReplicas},
    {"NOGROUP", RedisError::kNoGroup},
    {"BUSYGROUP", RedisError::kBusyGroup},
    {"NOSCRIPT", RedisError::kNoScript},
    {"BUSY", RedisError::kBusy},
    {"WRONGTYPE", RedisError::kWrongType},
    {"UNBLOCKED", RedisError::kUnblocked},
    {"EXECABORT", RedisError::kExecAbort},
}};

template <class Number>
std::optional<Number> whole(std::string_view text) {
  Number value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

}  // namespace

std::string_view to_string(RedisError error) noexcept {
  switch (error) {
    case RedisError::kNone: return "none";
    case RedisError::kNotSent: return "not-sent";
    case RedisError::kLost: return "lost";
    case RedisError::kOther: return "ERR";
    default: break;
  }
  const auto found = std::find_if(kWords.begin(), kWords.end(), [&](const auto& one) { return one.second == error; });
  return found == kWords.end() ? "unknown" : found->first;
}

RedisError classify(std::string_view text) noexcept {
  const std::string_view word = text.substr(0, text.find(' '));
  const auto found = std::find_if(kWords.begin(), kWords.end(), [&](const auto& one) { return one.first == word; });
  if (found != kWords.end()) return found->second;
  if (text == "ERR invalid password") return RedisError::kWrongPass;  // before Redis 6
  return RedisError::kOther;
}

bool is_transient(RedisError error) noexcept {
  switch (error) {
    case RedisError::kLoading:
    case RedisError::kMasterDown:
    case RedisError::kClusterDown:
    case RedisError::kTryAgain:
    case RedisError::kOutOfMemory:
    case RedisError::kMisconfigured:
    case RedisError::kNoReplicas:
    case RedisError::kBusy: return true;
    default: return false;
  }
}

Result<Redirect> parse_redirect(std::string_view text) {
  const auto wrong = [&] { return Error{Errc::kInvalidArgument, fmt::format("'{:.64}' is not a redirection", text)}; };
  const RedisError kind = classify(text);
  if (kind != RedisError::kMoved && kind != RedisError::kAsk) return wrong();
  const std::string_view rest = text.substr(std::min(text.find(' ') + 1, text.size()));
  const std::size_t blank = rest.find(' ');
  const std::size_t colon = rest.rfind(':');  // the host may be IPv6
  if (blank == std::string_view::npos || colon == std::string_view::npos || colon < blank) return wrong();
  const auto slot = whole<std::uint16_t>(rest.substr(0, blank));
  const auto port = whole<std::uint16_t>(rest.substr(colon + 1));
  constexpr std::uint16_t kSlots = 16384;
  if (!slot || *slot >= kSlots || !port || *port == 0) return wrong();
  return Redirect{*slot, std::string(rest.substr(blank + 1, colon - blank - 1)), *port};
}

}  // namespace stem::federation
