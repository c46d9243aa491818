#include "base/result.hpp"

#include <cerrno>
#include <cstring>

namespace stem {

std::string_view to_string(Errc code) noexcept {
  switch (code) {
    case Errc::kInvalidArgument: return "invalid-argument";
    case Errc::kNotFound: return "not-found";
    case Errc::kNotReady: return "not-ready";
    case Errc::kWrongVersion: return "wrong-version";
    case Errc::kWrongSignature: return "wrong-signature";
    case Errc::kWrongOwner: return "wrong-owner";
    case Errc::kTruncated: return "truncated";
    case Errc::kCorrupt: return "corrupt";
    case Errc::kTooLarge: return "too-large";
    case Errc::kFull: return "full";
    case Errc::kNoMemory: return "no-memory";
    case Errc::kDuplicate: return "duplicate";
    case Errc::kTimeout: return "timeout";
    case Errc::kNotDurable: return "not-durable";
    case Errc::kRefused: return "refused";
    case Errc::kCancelled: return "cancelled";
    case Errc::kSystem: return "system";
  }
  return "unknown";
}

Error system_error(std::string_view what) { return {Errc::kSystem, std::string(what) + ": " + std::strerror(errno)}; }

}  // namespace stem
