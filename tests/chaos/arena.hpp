// The arena: starts producers, workers and keepers, kills and stops them at random, starts them anew, lets
// everything drain, and adds up.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/random.hpp"
#include "tests/chaos/account.hpp"
#include "tests/chaos/roles.hpp"
#include "tests/support/process.hpp"
#include "tests/support/scratch.hpp"

namespace stem::chaos {

struct Report {
  Account account;
  std::uint64_t kills[3] = {}, stops[3] = {};  // producers, workers, keepers
  std::uint64_t kills_while_stopped = 0;
  std::uint64_t failed_starts = 0;  // processes that ended by themselves
  // The segment's own counters, at the end.
  std::uint64_t enqueued = 0, succeeded = 0, redelivered = 0, dead_added = 0, replayed = 0;
  bool drained = false;
  double seconds = 0;
  std::vector<std::string> broken;  // invariants
  std::vector<std::string> sums;    // where counters and ledgers disagree

  bool clean() const { return drained && account.clean() && broken.empty() && sums.empty() && failed_starts == 0; }
};

class Arena {
 public:
  explicit Arena(const Options& options);
  ~Arena();
  Report run();
  // Where segment and ledgers are; kept when the run was not clean.
  const std::string& directory() const { return scratch_->path(); }
  void keep_directory() { (void)scratch_.release(); }

 private:
  enum Kind { kProducer = 0, kWorker = 1, kKeeper = 2 };
  struct Seat {
    Kind kind;
    std::uint32_t index;
    test::Process process;
    std::int64_t resume_at_ns = 0;  // stopped until then; 0 = running
  };

  void start(Seat& seat);
  void strike(Seat& seat, Report& report);
  void tend(Report& report);
  void drain(Report& report);
  void compare(Report& report);

  const Options options_;
  std::unique_ptr<test::ScratchDirectory> scratch_;
  Switches* switches_;
  std::size_t ledger_capacity_;
  std::vector<Seat> seats_;
  base::Random random_;
};

}  // namespace stem::chaos
