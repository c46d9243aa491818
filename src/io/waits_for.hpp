// What a coroutine waits for, for people: how it stands in a word of 24 bits between processes, and in a sentence.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "base/units.hpp"

namespace stem::io {

struct WaitsFor {
  enum class What : std::uint8_t {
    kNothing,  // it is ready, and waits for the processor
    kTime,
    kConnection,
    kSend,
    kReceive,
    kReadable,
    kWritable,
    kAccept,
    kOpen,
    kRead,
    kWrite,
    kStat,
    kSync,
    kClose,
    kOther,
  };
  static constexpr std::int64_t kUnitNs = 10'000'000;  // of a time that is left, between processes
  static constexpr std::uint32_t kMost = (1u << 20) - 1;

  What what = What::kNothing;
  int fd = -1;
  std::int64_t left_ns = 0;  // of kTime

  //   23..20 What | 19..0 descriptor + 1, or the time left
  std::uint32_t pack() const noexcept {
    const std::int64_t amount = what == What::kTime ? left_ns / kUnitNs : std::int64_t{fd} + 1;
    return static_cast<std::uint32_t>(what) << 20 |
           static_cast<std::uint32_t>(std::clamp<std::int64_t>(amount, 0, kMost));
  }
  static WaitsFor unpack(std::uint32_t bits) noexcept {
    WaitsFor w;
    w.what = static_cast<What>(std::min<std::uint32_t>(bits >> 20, static_cast<std::uint32_t>(What::kOther)));
    if (w.what == What::kTime)
      w.left_ns = static_cast<std::int64_t>(bits & kMost) * kUnitNs;
    else
      w.fd = static_cast<int>(bits & kMost) - 1;
    return w;
  }
};

// "waits to receive from descriptor 12"; `of_fd`, what that is, may be empty.
inline std::string to_text(const WaitsFor& waits, const std::string& of_fd) {
  using What = WaitsFor::What;
  const std::string fd = waits.fd < 0
                             ? std::string()
                             : " descriptor " + std::to_string(waits.fd) + (of_fd.empty() ? "" : " (" + of_fd + ")");
  switch (waits.what) {
    case What::kNothing: return "is ready, and waits for the processor";
    case What::kTime: return "sleeps for another " + base::human_duration(waits.left_ns);
    case What::kConnection: return "waits for a connection by" + fd;
    case What::kSend: return "waits to send to" + fd;
    case What::kReceive: return "waits to receive from" + fd;
    case What::kReadable: return "waits for something to read from" + fd;
    case What::kWritable: return "waits for room to write to" + fd;
    case What::kAccept: return "waits for somebody to connect to" + fd;
    case What::kOpen: return "waits for a file to open";
    case What::kRead: return "waits to read the file of" + fd;
    case What::kWrite: return "waits to write the file of" + fd;
    case What::kStat: return "waits to be told of a file";
    case What::kSync: return "waits for the disk, for" + fd;
    case What::kClose: return "waits to close" + fd;
    case What::kOther: break;
  }
  return "waits";
}

}  // namespace stem::io
