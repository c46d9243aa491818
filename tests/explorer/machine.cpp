#include "machine.hpp"

#include <linux/futex.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <random>

#include "memory.hpp"

// The product's check ends the execution, not the program.
namespace stem::base {
[[noreturn]] void check_failed(const char* condition, const char* file, int line) noexcept;
}

namespace explorer {
namespace {

constexpr std::size_t kStackBytes = 512 * 1024;
constexpr std::uint32_t kMostSteps = 4000;     // then an execution is cut off
constexpr std::uint32_t kMostInARow = 300;     // then somebody else's turn comes unasked
constexpr std::uint32_t kMostStaleInARow = 8;  // of one location by one actor at random, or a wait would never end

enum class Choice : std::uint8_t { kTurn, kFreeTurn, kStore, kDeath };

std::uint64_t changed(std::uint64_t was, Change how, std::uint64_t operand) {
  switch (how) {
    case Change::kExchange: break;
    case Change::kAdd: return was + operand;
    case Change::kSubtract: return was - operand;
    case Change::kOr: return was | operand;
    case Change::kAnd: return was & operand;
  }
  return operand;
}

// Where choices come from. `among` > 1; 0 is what costs nothing: go on, the newest store, live.
class Chooser {
 public:
  virtual ~Chooser() = default;
  virtual std::uint32_t choose(std::uint32_t among, Choice what) = 0;
};

class Dice final : public Chooser {
 public:
  explicit Dice(std::uint64_t seed) : random_(seed * 0x9e3779b97f4a7c15ull + 1) {
    turn_ = 1u << (random_() % 5 + 1);
    store_ = 1u << (random_() % 4 + 1);
    death_ = 8u << (random_() % 4);
  }
  std::uint32_t choose(std::uint32_t among, Choice what) override {
    const std::uint32_t rarity = what == Choice::kTurn ? turn_ : what == Choice::kStore ? store_ : death_;
    if (what == Choice::kFreeTurn) return static_cast<std::uint32_t>(random_() % among);
    if (random_() % rarity != 0) return 0;
    return 1 + static_cast<std::uint32_t>(random_() % (among - 1));
  }

 private:
  std::minstd_rand random_;
  std::uint32_t turn_, store_, death_;
};

// Goes through all sequences of choices within the bounds, the last choice first.
class Walk final : public Chooser {
 public:
  explicit Walk(const Bounds& bounds) : bounds_(bounds) {}
  void start() {
    next_ = 0;
    preemptions_ = bounds_.preemptions;
    stale_ = bounds_.stale_reads;
    deaths_ = 1;
  }
  std::uint32_t choose(std::uint32_t among, Choice what) override {
    std::uint32_t* budget = what == Choice::kTurn    ? &preemptions_
                            : what == Choice::kStore ? &stale_
                            : what == Choice::kDeath ? &deaths_
                                                     : nullptr;
    if (budget != nullptr && *budget == 0) return 0;
    if (next_ == path_.size()) path_.push_back({0, among});
    const std::uint32_t chosen = path_[next_++].chosen;
    if (chosen != 0 && budget != nullptr) --*budget;
    return chosen;
  }
  // False when all have been tried.
  bool advance() {
    path_.resize(next_);
    while (!path_.empty() && path_.back().chosen + 1 == path_.back().among) path_.pop_back();
    if (path_.empty()) return false;
    ++path_.back().chosen;
    return true;
  }

 private:
  struct Fork {
    std::uint32_t chosen, among;
  };
  const Bounds bounds_;
  std::vector<Fork> path_;
  std::size_t next_ = 0;
  std::uint32_t preemptions_ = 0, stale_ = 0, deaths_ = 0;
};

// What another chooser chose before.
class Again final : public Chooser {
 public:
  explicit Again(std::vector<std::uint32_t> choices) : choices_(std::move(choices)) {}
  std::uint32_t choose(std::uint32_t, Choice) override { return next_ < choices_.size() ? choices_[next_++] : 0; }

 private:
  std::vector<std::uint32_t> choices_;
  std::size_t next_ = 0;
};

enum class Condition : std::uint8_t { kReady, kAsleep, kAwaits, kOver, kDead };

struct Actor {
  ucontext_t context{};
  void* stack = nullptr;
  Condition condition = Condition::kReady;
  const void* asleep_on = nullptr;
  std::uint32_t asleep_for = 0;  // bits of a wake that it heeds
  int awaits = -1;
  bool timed_out = false;
  std::vector<std::uint32_t> loose;  // locations of relaxed stores that nothing orders yet: lost by a death
  std::map<std::uint32_t, std::uint32_t> stale_in_a_row;
};

class Machine {
 public:
  enum class End : std::uint8_t { kWhole, kCutOff, kFault };

  // One execution. The play is at its end afterwards, and memory as it was before.
  End run(Play& play, Chooser& chooser, const std::vector<Weakened>& weak, bool tracing) {
    play_ = &play;
    chooser_ = &chooser;
    weak_ = &weak;
    tracing_ = tracing;
    trace_.clear();
    choices_.clear();
    text_.clear();
    timeouts_ = steps_ = in_a_row_ = 0;
    dead_rows_ = 0;
    current_ = -1;
    memory_.forget_histories();
    end_ = End::kWhole;
    count_ = 0;
    // A fault outside of the actors comes back to the context that is kept before it.
    ::getcontext(&main_);
    if (end_ == End::kWhole) play.begin();
    if (end_ == End::kWhole) {
      count_ = play.actors();
      for (int i = 0; i < count_; ++i) prepare(i);
      hand_over(pick());
    }
    if (end_ == End::kWhole) {
      ::getcontext(&main_);
      if (end_ == End::kWhole) play.end();
    }
    play.forget();
    memory_.rewind();
    return end_;
  }

  bool in_actor() const noexcept { return current_ >= 0; }
  Memory& memory() noexcept { return memory_; }
  const std::string& text() const { return text_; }
  const std::vector<std::uint32_t>& choices() const { return choices_; }
  const std::vector<std::string>& trace() const { return trace_; }
  bool whole() const { return end_ == End::kWhole && !anyone_died(); }
  int timeouts() const { return static_cast<int>(timeouts_); }
  bool is_dead(int actor) const { return actors_[std::size_t(actor)].condition == Condition::kDead; }
  bool anyone_died() const {
    return std::any_of(actors_.begin(), actors_.begin() + count_,
                       [](const Actor& a) { return a.condition == Condition::kDead; });
  }
  void mark_row_dead(std::uint32_t row) { dead_rows_ |= std::uint64_t{1} << (row % 64); }
  bool row_is_dead(std::uint32_t row) const { return (dead_rows_ >> (row % 64) & 1) != 0; }

  [[noreturn]] void fault(std::string text) {
    text_ = std::move(text);
    end_ = End::kFault;
    leave();
  }

  // ---- operations of the current actor

  std::uint64_t load(const void* at, unsigned bytes, std::memory_order order, const Site& site) {
    step();
    order = weakened(order, site);
    const std::uint32_t id = memory_.at(at, bytes);
    const std::uint32_t which = choose_store(id, order, memory_.newest(id) + 1, nullptr);
    const std::uint64_t value = memory_.read(current_, id, which, order);
    note(site, "load", id, order, value, which);
    return value;
  }
  void store(void* at, unsigned bytes, std::uint64_t value, std::memory_order order, const Site& site) {
    step();
    order = weakened(order, site);
    const std::uint32_t id = memory_.at(at, bytes);
    memory_.write(current_, id, value, order);
    wrote(id, order);
    note(site, "store", id, order, value, memory_.newest(id));
  }
  std::uint64_t change(void* at, unsigned bytes, Change how, std::uint64_t operand, std::memory_order order,
                       const Site& site) {
    step();
    order = weakened(order, site);
    const std::uint32_t id = memory_.at(at, bytes);
    Location& location = memory_[id];
    const std::uint64_t was = location.stores[location.count - 1].value;
    std::uint64_t value = changed(was, how, operand);
    if (bytes < 8) value &= (std::uint64_t{1} << bytes * 8) - 1;
    memory_.replace(current_, id, value, order);
    wrote(id, order);
    note(site, "change", id, order, value, memory_.newest(id));
    return was;
  }
  bool compare_exchange(void* at, unsigned bytes, std::uint64_t& expected, std::uint64_t desired,
                        std::memory_order success, std::memory_order failure, const Site& site) {
    step();
    success = weakened(success, site);
    failure = weakened(failure, site);
    const std::uint32_t id = memory_.at(at, bytes);
    Location& location = memory_[id];
    const std::uint32_t newest = memory_.newest(id);
    // It fails with any other value that a load might return; it succeeds from the newest alone.
    const std::uint64_t wanted = expected;
    const std::uint32_t which = choose_store(id, failure, newest + 1, &wanted);
    if (which == newest && location.stores[newest].value == expected) {
      memory_.replace(current_, id, desired, success);
      wrote(id, success);
      note(site, "cas", id, success, desired, memory_.newest(id));
      return true;
    }
    expected = memory_.read(current_, id, which, failure);
    note(site, "cas failed", id, failure, expected, which);
    return false;
  }
  void fence(std::memory_order order, const Site& site) {
    if (order == std::memory_order_seq_cst) fault("a sequentially consistent fence: the machine knows none");
    if (weakened(order, site) == std::memory_order_relaxed) return;
    memory_.fence(current_, order);
    if (order != std::memory_order_acquire) actor().loose.clear();
    if (tracing_) trace_.push_back(std::to_string(current_) + "  fence  " + place(site));
  }
  void copy(std::byte* to, const std::byte* from, std::size_t bytes, const Site& site) {
    const bool writes = memory_.watched(to), reads = memory_.watched(from);
    if (!writes && !reads) {
      std::memcpy(to, from, bytes);
      return;
    }
    const auto* shared = writes ? to : from;
    for (std::size_t done = 0; done < bytes;) {
      const auto address = reinterpret_cast<std::uintptr_t>(shared + done);
      const std::size_t within = address % 8, n = std::min(bytes - done, 8 - within);
      auto* word = reinterpret_cast<std::byte*>(address - within);
      step();
      const std::uint32_t id = memory_.at(word, 8);
      if (writes) {
        if (memory_.races(current_, id))
          fault("two writes of plain memory without an order: " + name(word) + " " + place(site));
        std::uint64_t value = memory_[id].stores[memory_.newest(id)].value;
        std::memcpy(reinterpret_cast<std::byte*>(&value) + within, from + done, n);
        memory_.write(current_, id, value, std::memory_order_relaxed);
        note(site, "copy in", id, std::memory_order_relaxed, value, memory_.newest(id));
      } else {
        const std::uint32_t which = choose_store(id, std::memory_order_relaxed, memory_.newest(id) + 1, nullptr);
        const std::uint64_t value = memory_.read(current_, id, which, std::memory_order_relaxed);
        std::memcpy(to + done, reinterpret_cast<const std::byte*>(&value) + within, n);
        note(site, "copy out", id, std::memory_order_relaxed, value, which);
      }
      done += n;
    }
  }
  // The kernel looks at the word as it is; what it does is no order of the language.
  long futex(std::uint32_t* at, int operation, std::uint32_t value, std::uint32_t bits) {
    step();
    if (const int command = operation & FUTEX_CMD_MASK; command == FUTEX_WAKE || command == FUTEX_WAKE_BITSET) {
      long woken = 0;
      for (int i = 0; i < count_ && woken < static_cast<long>(value); ++i) {
        Actor& other = actors_[std::size_t(i)];
        if (other.condition != Condition::kAsleep || other.asleep_on != at || (other.asleep_for & bits) == 0) continue;
        other.condition = Condition::kReady;
        ++woken;
      }
      if (tracing_) trace_.push_back(std::to_string(current_) + "  wake " + std::to_string(woken));
      return woken;
    }
    if (*at != value) {
      errno = EAGAIN;
      return -1;
    }
    if (tracing_) trace_.push_back(std::to_string(current_) + "  sleeps");
    Actor& me = actor();
    me.condition = Condition::kAsleep;
    me.asleep_on = at;
    me.asleep_for = bits;
    me.timed_out = false;
    hand_over(pick());
    if (!me.timed_out) return 0;
    errno = ETIMEDOUT;
    return -1;
  }
  void await_end(int other) {
    Actor& of = actors_[std::size_t(other)];
    if (of.condition != Condition::kOver && of.condition != Condition::kDead) {
      actor().condition = Condition::kAwaits;
      actor().awaits = other;
      hand_over(pick());
    }
    memory_.join(current_, other);
  }

  void call_it(const void* at, std::string text) { names_[at] = std::move(text); }
  void note_write(void* at, std::size_t bytes) {
    if (play_ != nullptr) memory_.remember(at, bytes);
  }
  void done() { play_ = nullptr; }

 private:
  Actor& actor() { return actors_[std::size_t(current_)]; }

  std::uint32_t choose(std::uint32_t among, Choice what) {
    if (among < 2) return 0;
    const std::uint32_t chosen = chooser_->choose(among, what);
    choices_.push_back(chosen);
    return chosen;
  }

  // Of the stores below `end` that the actor may read; other than the newest only those of another value than `not`.
  std::uint32_t choose_store(std::uint32_t id, std::memory_order order, std::uint32_t end, const std::uint64_t* other) {
    const std::uint32_t oldest = memory_.oldest(current_, id, order == std::memory_order_seq_cst);
    if (oldest + 1 >= end) return end - 1;
    Actor& me = actor();
    std::uint32_t& in_a_row = me.stale_in_a_row[id];
    if (in_a_row >= kMostStaleInARow) {
      in_a_row = 0;
      return end - 1;
    }
    std::uint32_t candidates[64];
    std::uint32_t n = 0;
    for (std::uint32_t i = end; i-- > oldest && n < 64;) {
      if (i + 1 != end && other != nullptr && memory_[id].stores[i].value == *other) continue;
      candidates[n++] = i;
    }
    const std::uint32_t chosen = choose(n, Choice::kStore);
    in_a_row = chosen == 0 ? 0 : in_a_row + 1;
    return candidates[chosen];
  }

  void wrote(std::uint32_t id, std::memory_order order) {
    auto& loose = actor().loose;
    if (order == std::memory_order_relaxed)
      loose.push_back(id);
    else  // a release keeps its place after what came before it
      loose.clear();
  }

  // Before each operation: it may be somebody else's turn, or the actor's last.
  void step() {
    if (no_steps_) return;
    if (++steps_ > kMostSteps) {
      end_ = End::kCutOff;
      leave();
    }
    if (play_->mortal(current_) && !anyone_died() && choose(2, Choice::kDeath) != 0) die();
    std::uint32_t others = 0;
    for (int i = 0; i < count_; ++i) others += i != current_ && actors_[std::size_t(i)].condition == Condition::kReady;
    if (others == 0) return;
    if (++in_a_row_ > kMostInARow) {
      hand_over(other(0));
      return;
    }
    if (const std::uint32_t chosen = choose(others + 1, Choice::kTurn); chosen != 0) hand_over(other(chosen - 1));
  }

  // The n-th of the others that are ready, from the next one on.
  int other(std::uint32_t n) const {
    for (int i = 1; i < count_; ++i) {
      const int candidate = (current_ + i) % count_;
      if (actors_[std::size_t(candidate)].condition == Condition::kReady && n-- == 0) return candidate;
    }
    return current_;
  }

  // Somebody who is ready; if nobody is, a sleep ends by its time. -1: all are over.
  int pick() {
    for (;;) {
      int ready[kMostActors];
      std::uint32_t n = 0;
      for (int i = 0; i < count_; ++i) {
        Actor& a = actors_[std::size_t(i)];
        if (a.condition == Condition::kAwaits) {
          const Condition of = actors_[std::size_t(a.awaits)].condition;
          if (of == Condition::kOver || of == Condition::kDead) a.condition = Condition::kReady;
        }
        if (a.condition == Condition::kReady) ready[n++] = i;
      }
      if (n != 0) return ready[choose(n, Choice::kFreeTurn)];
      const auto sleeper = std::find_if(actors_.begin(), actors_.begin() + count_,
                                        [](const Actor& a) { return a.condition == Condition::kAsleep; });
      if (sleeper == actors_.begin() + count_) return -1;
      ++timeouts_;
      sleeper->timed_out = true;
      sleeper->condition = Condition::kReady;
      if (tracing_) trace_.push_back(std::to_string(sleeper - actors_.begin()) + "  sleeps until its time is over");
    }
  }

  // A killed process: what it has stored is there, but for the relaxed stores that might as well have come later.
  void die() {
    Actor& me = actor();
    if (tracing_) trace_.push_back(std::to_string(current_) + "  dies");
    for (auto id = me.loose.begin(); id != me.loose.end(); ++id) {
      const bool again = std::find(id + 1, me.loose.end(), *id) != me.loose.end();
      if (again || memory_.seen_by_others(current_, *id) || choose(2, Choice::kStore) == 0) continue;
      if (tracing_) trace_.push_back(std::to_string(current_) + "  had not stored " + name(memory_[*id].at));
      memory_.drop_newest(*id);
    }
    me.condition = Condition::kDead;
    no_steps_ = true;
    play_->died(current_);
    no_steps_ = false;
    hand_over(pick());
    std::abort();  // the dead do not go on
  }

  void prepare(int index) {
    Actor& a = actors_[std::size_t(index)];
    if (a.stack == nullptr) {
      a.stack = ::mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
      if (a.stack == MAP_FAILED) std::abort();
    }
    a.condition = Condition::kReady;
    a.loose.clear();
    a.stale_in_a_row.clear();
    ::getcontext(&a.context);
    a.context.uc_stack.ss_sp = a.stack;
    a.context.uc_stack.ss_size = kStackBytes;
    a.context.uc_link = nullptr;
    ::makecontext(&a.context, reinterpret_cast<void (*)()>(&Machine::enter), 0);
  }

  static void enter();
  void act() {
    play_->act(current_);
    actor().condition = Condition::kOver;
    hand_over(pick());
    std::abort();
  }

  void hand_over(int to) {
    const int from = current_;
    if (to == from) return;
    in_a_row_ = 0;
    current_ = to;
    ucontext_t* mine = from < 0 ? &main_ : &actors_[std::size_t(from)].context;
    ::swapcontext(mine, to < 0 ? &main_ : &actors_[std::size_t(to)].context);
  }
  // The execution is over, whatever the actors were about to do.
  [[noreturn]] void leave() {
    current_ = -1;
    ::setcontext(&main_);
    std::abort();
  }
  std::memory_order weakened(std::memory_order order, const Site& site) const {
    for (const Weakened& w : *weak_)
      if (site.line() >= w.first && site.line() <= w.last && std::string_view(site.file_name()).ends_with(w.file))
        return std::memory_order_relaxed;
    return order;
  }

  static std::string place(const Site& site) {
    std::string_view file = site.file_name();
    if (const auto slash = file.rfind('/'); slash != file.npos) file.remove_prefix(slash + 1);
    return std::string(file) + ":" + std::to_string(site.line());
  }
  std::string name(const void* at) const {
    auto found = names_.upper_bound(at);
    if (found != names_.begin()) {
      --found;
      const auto distance = static_cast<const std::byte*>(at) - static_cast<const std::byte*>(found->first);
      if (distance == 0) return found->second;
      if (distance < 4096) return found->second + "+" + std::to_string(distance);
    }
    char text[32];
    std::snprintf(text, sizeof text, "%p", at);
    return text;
  }
  void note(const Site& site, const char* what, std::uint32_t id, std::memory_order order, std::uint64_t value,
            std::uint32_t which) {
    if (!tracing_) return;
    static constexpr const char* kOrders[] = {"relaxed", "consume", "acquire", "release", "acq_rel", "seq_cst"};
    char text[256];
    std::snprintf(text, sizeof text, "%d  %-10s %-28s %-8s %#14llx  %s%s", current_, what, name(memory_[id].at).c_str(),
                  kOrders[static_cast<int>(order)], static_cast<unsigned long long>(value), place(site).c_str(),
                  which == memory_.newest(id) ? "" : "  (stale)");
    trace_.emplace_back(text);
  }

  Memory memory_;
  Play* play_ = nullptr;
  Chooser* chooser_ = nullptr;
  const std::vector<Weakened>* weak_ = nullptr;
  std::array<Actor, kMostActors> actors_;
  ucontext_t main_{};
  int count_ = 0;
  int current_ = -1;
  bool tracing_ = false;
  bool no_steps_ = false;  // the kernel acts for a dead actor
  std::uint32_t steps_ = 0, in_a_row_ = 0, timeouts_ = 0;
  std::uint64_t dead_rows_ = 0;
  End end_ = End::kWhole;
  std::string text_;
  std::vector<std::uint32_t> choices_;
  std::vector<std::string> trace_;
  std::map<const void*, std::string> names_;
};

Machine& machine() {
  static auto* one = new Machine;
  return *one;
}

void Machine::enter() { machine().act(); }

Outcome failed(Play& play, const std::string& how, std::uint64_t executions, const std::vector<Weakened>& weak) {
  Outcome outcome;
  outcome.failed = true;
  outcome.executions = executions;
  outcome.text = machine().text() + " (" + how + ")";
  Again again(machine().choices());
  const auto repeated = machine().run(play, again, weak, true);
  for (const std::string& line : machine().trace()) outcome.schedule += "  " + line + "\n";
  if (repeated != Machine::End::kFault)
    outcome.schedule += "  (another end when it was repeated: the scene is not determined)\n";
  machine().done();
  return outcome;
}

}  // namespace

bool exploring() noexcept { return machine().in_actor(); }
int timeouts() noexcept { return machine().timeouts(); }
bool is_dead(int actor) noexcept { return machine().is_dead(actor); }
bool anyone_died() noexcept { return machine().anyone_died(); }
bool whole() noexcept { return machine().whole(); }
void await_end(int actor) { machine().await_end(actor); }
void mark_row_dead(std::uint32_t row) noexcept { machine().mark_row_dead(row); }
bool row_is_dead(std::uint32_t row) noexcept { return machine().row_is_dead(row); }
void watch(const void* from, std::size_t bytes) { machine().memory().watch(from, bytes); }
void unwatch() noexcept { machine().memory().unwatch(); }
void call_it(const void* at, std::string name) { machine().call_it(at, std::move(name)); }
void fault(std::string text) { machine().fault(std::move(text)); }
void note_write(void* at, std::size_t bytes) noexcept { machine().note_write(at, bytes); }

std::uint64_t load(const void* at, unsigned bytes, std::memory_order order, Site site) {
  if (exploring()) return machine().load(at, bytes, order, site);
  std::uint64_t value = 0;
  std::memcpy(&value, at, bytes);
  return value;
}

void store(void* at, unsigned bytes, std::uint64_t value, std::memory_order order, Site site) {
  if (exploring()) return machine().store(at, bytes, value, order, site);
  note_write(at, bytes);
  std::memcpy(at, &value, bytes);
}

std::uint64_t change(void* at, unsigned bytes, Change how, std::uint64_t operand, std::memory_order order, Site site) {
  if (exploring()) return machine().change(at, bytes, how, operand, order, site);
  const std::uint64_t was = load(at, bytes, order, site);
  const std::uint64_t value = changed(was, how, operand);
  store(at, bytes, value, order, site);
  return was;
}

bool compare_exchange(void* at, unsigned bytes, std::uint64_t& expected, std::uint64_t desired,
                      std::memory_order success, std::memory_order failure, Site site) {
  if (exploring()) return machine().compare_exchange(at, bytes, expected, desired, success, failure, site);
  const std::uint64_t was = load(at, bytes, failure, site);
  if (was == expected) {
    store(at, bytes, desired, success, site);
    return true;
  }
  expected = was;
  return false;
}

void fence(std::memory_order order, Site site) {
  if (exploring()) machine().fence(order, site);
}

void copy(void* to, const void* from, std::size_t bytes, Site site) {
  if (exploring()) return machine().copy(static_cast<std::byte*>(to), static_cast<const std::byte*>(from), bytes, site);
  note_write(to, bytes);
  std::memcpy(to, from, bytes);
}

long futex(std::uint32_t* at, int operation, std::uint32_t value, std::uint32_t bits) {
  return machine().futex(at, operation, value, bits);
}

Outcome run_random(Play& play, std::uint64_t seed, std::uint64_t executions, const std::vector<Weakened>& weak) {
  Outcome outcome;
  for (; outcome.executions < executions; ++outcome.executions) {
    Dice dice(seed + outcome.executions);
    const auto end = machine().run(play, dice, weak, false);
    if (end == Machine::End::kFault)
      return failed(play, "seed " + std::to_string(seed + outcome.executions), outcome.executions + 1, weak);
    outcome.cut_off += end == Machine::End::kCutOff;
  }
  machine().done();
  return outcome;
}

Outcome run_bounded(Play& play, const Bounds& bounds, const std::vector<Weakened>& weak) {
  Outcome outcome;
  Walk walk(bounds);
  do {
    walk.start();
    ++outcome.executions;
    const auto end = machine().run(play, walk, weak, false);
    if (end == Machine::End::kFault)
      return failed(play, "execution " + std::to_string(outcome.executions) + " within the bounds", outcome.executions,
                    weak);
    outcome.cut_off += end == Machine::End::kCutOff;
    outcome.exhausted = !walk.advance();
  } while (!outcome.exhausted && outcome.executions < bounds.executions);
  machine().done();
  return outcome;
}

}  // namespace explorer

void stem::base::check_failed(const char* condition, const char* file, int line) noexcept {
  explorer::fault(std::string(file) + ":" + std::to_string(line) + ": check failed: " + condition);
}
