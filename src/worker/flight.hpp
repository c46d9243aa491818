// One attempt of a coroutine handler. Private to flights.cpp and flight.cpp.
#pragma once

#include <memory>
#include <optional>
#include <stop_token>

#include "io/tree.hpp"
#include "worker/flights.hpp"

namespace stem::worker {

class Flight final : public co::Root, public co::Hook, public StopOrigin {
 public:
  // Why it was told to end; the first reason counts.
  enum class End : std::uint8_t { kByItself, kSoftLimit, kStopped, kRevoked, kLost, kHardLimit };

  Flight(Flights& owner, const engine::Lease& lease, const engine::TaskView& task, std::int64_t now_ns);
  ~Flight() override;

  void begin(const HandlerEntry& handler);
  // Asks: what it waits for ends with an error, and its stop token is set.
  void ask(End why);
  // The frames go, with what they own.
  void destroy_frames();

  const engine::Lease& lease() const noexcept { return lease_; }
  const engine::TaskHead& task() const noexcept { return task_; }
  void view(engine::TaskView& into) const;
  std::int64_t started_ns() const noexcept { return context_.started_ns(); }
  End end() const noexcept { return end_; }
  // Empty when it was ended by force.
  std::optional<Outcome>& outcome() noexcept { return outcome_; }

 private:
  std::stop_token make_stop_token() override;
  void arm_limits(std::int64_t now_ns);
  void tell_soft_limit();
  void entering() noexcept override;
  void leaving() noexcept override;
  void finished() override { owner_.land(*this); }

  Flights& owner_;
  engine::Lease lease_;
  engine::TaskHead task_;
  // Of a hundred thousand most have none of it, and do not keep room for it.
  struct Extras {
    engine::TaskExtras of_task;
    io::TimerId soft, hard;
    std::int64_t hard_deadline_ns = 0;
  };
  std::unique_ptr<Extras> extras_;
  std::stop_source stop_{std::nostopstate};  // until somebody asks for a token
  TaskContext context_;
  co::Tree tree_{};
  std::optional<Outcome> outcome_;
  End end_ = End::kByItself;
};

}  // namespace stem::worker
