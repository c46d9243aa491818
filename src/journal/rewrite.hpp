// A journal that nobody writes, made anew from what is alive in it: what `stem journal compact` and `repair` do.
#pragma once

#include <vector>

#include "journal/reader.hpp"

namespace stem::journal {

struct Rewritten {
  std::uint64_t tasks = 0;    // alive
  std::uint64_t unnamed = 0;  // alive, but the name of its queue or its own was in a lost batch: left out
  std::uint64_t files_before = 0, files_after = 0;
  std::vector<Damage> damage;  // what was left out
};

// What rewrite_journal() would do; changes nothing.
Result<Rewritten> examine_journal(Store& store, OnDamage on_damage);
// The caller holds the WriterLock. kCorrupt when it is damaged and may not skip that. Killed anywhere, the journal says
// the same as before or after.
Result<Rewritten> rewrite_journal(Store& store, std::uint64_t file_bytes, OnDamage on_damage);

}  // namespace stem::journal
