// Cancellation as a tree. A scope holds what waits in it; cancelling it ends those waits, and those of the scopes below
// it. The root is one handler's call (or one run_blocking()): it resumes the coroutines of its tree, and when it must,
// ends them without asking.
//
// All of a tree belongs to its loop's thread.
#pragma once

#include <coroutine>
#include <cstdint>

#include "io/loop.hpp"
#include "io/waits_for.hpp"

namespace stem::co {

class Root;

enum class Stop : std::uint8_t {
  kNone,
  kCancelled,  // somebody asked: a stop, a revoke, a sibling that failed
  kTimeout,    // a deadline passed
};

// Doubly linked, in the object itself: what waits allocates nothing for it.
struct Hook {
  Hook* previous = this;
  Hook* next = this;

  Hook() = default;
  Hook(const Hook&) = delete;
  Hook& operator=(const Hook&) = delete;
  bool alone() const noexcept { return next == this; }
  void insert_before(Hook& place) noexcept {
    previous = place.previous;
    next = &place;
    previous->next = this;
    place.previous = this;
  }
  void remove() noexcept {
    previous->next = next;
    next->previous = previous;
    previous = next = this;
  }
};

// A coroutine that waits for something that can be called off. In its frame.
class Waiter : public Hook {
 public:
  // Makes it resume soon. Never resumes it from in here.
  virtual void call_off() noexcept = 0;
  virtual io::WaitsFor waits_for() const noexcept { return {.what = io::WaitsFor::What::kOther}; }

 protected:
  ~Waiter() = default;
};

class Scope : public Hook {
 public:
  enum class Kind : std::uint8_t { kPlain, kShielded };  // shielded: what cancels its parent does not reach it

  explicit Scope(Root& root) noexcept : root_(root) {}
  explicit Scope(Scope& parent, Kind kind = Kind::kPlain) noexcept;
  ~Scope() { remove(); }

  Root& root() const noexcept { return root_; }
  Stop stopped() const noexcept { return stopped_; }
  // The first reason stays.
  void cancel(Stop why) noexcept;
  void add(Waiter& waiter) noexcept { waiter.insert_before(waiters_); }
  // The first that waits, here or below; null when none does.
  const Waiter* first_waiter() const noexcept;

 private:
  friend class Root;
  void cancel_all(Stop why, bool shielded_too) noexcept;

  Root& root_;
  Stop stopped_ = Stop::kNone;
  Kind kind_ = Kind::kPlain;
  Hook waiters_;
  Hook children_;
};

class Root {
 public:
  explicit Root(io::Loop& loop) noexcept : loop_(loop), scope_(*this) {}
  Root(const Root&) = delete;
  Root& operator=(const Root&) = delete;

  io::Loop& loop() const noexcept { return loop_; }
  Scope& scope() noexcept { return scope_; }

  // Runs `main` to its first wait. When its tree is over, finished() is called: from in here, or from the loop.
  void start(std::coroutine_handle<> main) {
    main_ = main;
    resume(main);
  }
  // Ends it without asking: what it waits for is called off, and then its frames are destroyed, innermost first, with
  // all that they own. From the loop, never from inside the tree.
  void doom() noexcept;
  bool doomed() const noexcept { return doomed_; }

  // For what waits: one more, one less under way. arrived() resumes, unless the tree is doomed.
  void departed() noexcept { ++under_way_; }
  void arrived(std::coroutine_handle<> waiting) {
    --under_way_;
    if (doomed_)
      end_doomed();
    else
      resume(waiting);
  }
  // By the last coroutine of the tree, at its end.
  void note_end() noexcept { over_ = true; }

 protected:
  virtual ~Root() = default;
  // Around each stretch on the processor.
  virtual void entering() noexcept {}
  virtual void leaving() noexcept {}
  // The tree stands still for good; the main coroutine's frame is there until the owner lets go of it. May destroy
  // this.
  virtual void finished() = 0;

 private:
  void resume(std::coroutine_handle<> waiting) {
    entering();
    waiting.resume();
    leaving();
    if (over_) finished();
  }
  void end_doomed();

  io::Loop& loop_;
  Scope scope_;
  std::coroutine_handle<> main_;
  std::uint32_t under_way_ = 0;
  bool over_ = false;
  bool doomed_ = false;
};

}  // namespace stem::co
