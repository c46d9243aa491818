// The ledger of one history: every task, every run of it, how it ended, and what it was allowed to come to.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.hpp"
#include "engine/task.hpp"
#include "tests/simulation/diary.hpp"
#include "tests/simulation/model_redis.hpp"

namespace stem::simulation {

enum class Conduct : std::uint8_t { kSucceed, kFailOnce, kFailForGood };

inline constexpr std::uint32_t kOutside = ~0u;  // the origin of what no host of ours has made

// What a task does when it runs; by its number, as a handler's code would.
struct Plan {
  std::int64_t duration_ns = 0;
  Conduct conduct = Conduct::kSucceed;
  bool awaited = false;
  std::uint8_t priority = 0;
  std::int64_t visibility_ns = 0;  // 0 = the default
  std::int64_t delay_ns = 0;
  std::uint64_t unique_key = 0;       // 0 = none
  std::uint64_t concurrency_key = 0;  // 0 = none; else as many of it may run at once as kPlaces
};
inline constexpr std::uint32_t kPlaces = 2;

struct TaskAccount {
  std::uint32_t origin = 0;  // host
  engine::TaskId id;         // there
  Plan plan;
  bool held = false;        // at its origin until its end is known
  bool replicated = false;  // let go there only when a replica has it
  std::uint32_t starts = 0;
  std::uint32_t successes = 0;  // that the host's engine accepted
  std::uint32_t burials = 0;    // dead letters, likewise
  std::uint32_t fenced = 0;     // ends that were refused
  bool may_be_lost = false;     // what held it was lost, and that was stated
  bool may_repeat = false;      // somebody had to start it anew
  bool result_may_be_lost = false;
  bool duplicate = false;  // another had its unique key: it was told so, and never ran

  bool ended() const { return successes + burials > 0 || duplicate; }
};

class Accounts {
 public:
  explicit Accounts(Diary& diary) : diary_(diary) {}

  std::uint64_t open(std::uint32_t origin, const Plan& plan);
  TaskAccount& at(std::uint64_t number) { return tasks_[number]; }
  const std::vector<TaskAccount>& tasks() const { return tasks_; }
  std::uint64_t open_count() const { return tasks_.size() - ended_; }

  void started(std::uint64_t number, std::uint32_t host);
  void succeeded(std::uint64_t number, std::uint32_t host);
  void buried(std::uint64_t number, std::uint32_t host);
  void duplicate(std::uint64_t number);
  void refused(std::uint64_t number, std::uint32_t host);  // the engine there had given it to another

  void failed(std::uint64_t number, std::uint32_t host);  // and is tried again
  // Of tasks with one unique key one runs at a time, and of those with one concurrency key kPlaces; only then it is
  // looked at.
  void expect_exclusive_keys() { exclusive_keys_ = true; }
  void expect_places() { limited_ = true; }

  // ---- what faults allow
  void host_lost(std::uint32_t host);
  void may_repeat(std::uint64_t number) { at(number).may_repeat = true; }
  void all_may_repeat();
  void rolled_back(const ModelRedis& before, const ModelRedis& after, bool to_replica);

  // Something that must never be.
  void violation(std::string what);
  const std::vector<std::string>& violations() const { return violations_; }
  // Of what has happened so far, looked at as a whole.
  void check_runs(bool once);

  // The number in a payload or in an envelope; false when there is none.
  static bool number_in(std::string_view text, std::uint64_t& number);

 private:
  Diary& diary_;
  std::vector<TaskAccount> tasks_;
  void hold_key(std::uint64_t number);
  void give_key(std::uint64_t number);

  std::uint64_t ended_ = 0;
  bool exclusive_keys_ = false, limited_ = false;
  std::map<std::uint64_t, std::set<std::uint64_t>> running_;  // by concurrency key
  std::map<std::uint64_t, std::uint64_t> key_holders_;        // from their first start to their end
  std::vector<std::string> violations_;
};

}  // namespace stem::simulation
