// Deliberate faults, each at the seam between the federation's core and Redis: what the core would do if one rule of
// it were missing. A simulation that does not notice them proves nothing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "federation/redis.hpp"

namespace stem::simulation {

enum class Canary : std::uint8_t {
  kNone,
  kResendUnread,      // after a lost answer everything is sent again, without reading back
  kNoFence,           // what the connections before it have sent may still be carried out
  kLetGoUnanswered,   // a task is let go before Redis has answered
  kAcknowledgeEarly,  // an entry is acknowledged when it comes, not when it ends
  kNoRenewal,         // a lease is not renewed, but taken for renewed
  kImpatientReclaim,  // other hosts' entries are taken over without waiting for their time
  kNoDelete,          // an entry that ended is acknowledged and stays
  kNoResult,          // an entry that ended leaves no result
  kSettleUnasked,     // who was silent for too long does not ask whether the entry still is his
  kForgetPending,     // what Redis counts as ours is not read first
  kPromoteTwice,      // a delayed task comes to its lane and stays in the delayed set
  kKeyUnasked,        // a task with a unique key is appended whoever has the key
  kKeyKept,           // a task that ended keeps its unique key
  kPlacesUnasked,     // a host takes as many places of a concurrency limit as it wants
  kTrimUnasked,       // what ended leaves its stream with all that is before it
};
inline constexpr Canary kLastCanary = Canary::kTrimUnasked;

std::string_view to_string(Canary canary);
// False when there is none of this name.
bool parse(std::string_view text, Canary& canary);

// Passes everything on to another, but for the fault.
class CanaryRedis : public federation::Redis {
 public:
  CanaryRedis(federation::Redis& to, Canary canary) : to_(to), canary_(canary) {}

  using Redis::command;
  federation::Queued command(std::span<const std::string_view> argv, federation::ReplyHandler handler,
                             std::int64_t block_ns) override;
  bool is_ready() const override { return to_.is_ready(); }
  void drop(const std::string& reason) override { to_.drop(reason); }

 private:
  using Argv = std::span<const std::string_view>;
  // Answered when Redis answers something else, with this.
  federation::Queued pretend(const federation::Reply& said, federation::ReplyHandler handler);
  federation::Queued let_go_unanswered(Argv argv, federation::ReplyHandler handler);
  federation::Queued acknowledge_early(Argv argv, federation::ReplyHandler handler, std::int64_t block_ns);
  federation::Queued reclaim_impatiently(Argv argv, federation::ReplyHandler handler);
  federation::Queued settle_in_part(Argv argv, federation::ReplyHandler handler);
  federation::Queued trim_unasked(Argv argv, federation::ReplyHandler handler);
  federation::Queued forget_results(Argv argv, federation::ReplyHandler handler);
  federation::Queued settle_unasked(Argv argv, federation::ReplyHandler handler);
  federation::Queued settle_without_key(Argv argv, federation::ReplyHandler handler);
  federation::Queued take_unasked(Argv argv, federation::ReplyHandler handler);
  federation::Queued add_unasked(Argv argv, federation::ReplyHandler handler);
  federation::Queued promote_twice(Argv argv, federation::ReplyHandler handler);

  federation::Redis& to_;
  Canary canary_;
};

}  // namespace stem::simulation
