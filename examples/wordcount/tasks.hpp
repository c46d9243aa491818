#pragma once

#include <cstdint>
#include <string>

#include "stem/json.hpp"
#include "stem/task.hpp"

struct Digest {
  std::string sha256;
  std::uint64_t lines = 0;
  std::uint64_t words = 0;
  std::uint64_t bytes = 0;
  // Of the attempt that finished: which it was, who ran it and since when (CLOCK_MONOTONIC).
  std::uint32_t attempt = 0;
  int pid = 0;
  std::int64_t started_ns = 0;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Digest, sha256, lines, words, bytes, attempt, pid, started_ns)

// Checksum and counts of one file, by its path.
inline constexpr stem::Task<Digest(std::string)> file_digest{"file.digest", {.queue = "files"}};
