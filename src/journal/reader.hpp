// Reads journal files: every whole batch in order, what ends them, and whether that is a torn tail or damage.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "journal/format.hpp"
#include "journal/log.hpp"

namespace stem::journal {

struct Record {
  std::uint32_t type = 0;
  std::span<const std::byte> body;
  std::uint64_t sequence = 0;  // of its file
};

// Bytes that were on disk once and cannot be read any more.
struct Damage {
  std::string file;
  std::uint64_t offset = 0;
  std::string what;
  std::uint64_t first_lsn = 0;  // the batches that are lost
  std::uint64_t last_lsn = 0;
};

struct FileReport {
  std::uint64_t sequence = 0;
  std::uint64_t bytes = 0;
  std::uint64_t used_bytes = 0;  // first page and whole batches
  std::uint64_t batches = 0;
  std::uint64_t records = 0;
  bool torn = false;  // something was begun behind them that is not whole
};

struct ReadReport {
  std::vector<FileReport> files;  // oldest first
  std::vector<Damage> damage;
  LogPosition last;
  std::uint64_t torn_tails() const;
};

enum class OnDamage : std::uint8_t {
  kStop,  // nothing after it is visited
  kSkip,  // goes on with the next whole batch
};

// Calls `visit` for each record of each whole batch, in order of LSN. The bodies live as long as `keep`, or, without
// it, as long as the call. A record that makes no sense in a batch that checks is damage too: visit() answers false.
Result<ReadReport> read_journal(Store& store, OnDamage on_damage, const std::function<bool(const Record&)>& visit,
                                std::vector<Contents>* keep = nullptr);

std::string describe(const Damage& damage);

}  // namespace stem::journal
