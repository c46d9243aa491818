// The importer's leases: renewed while they are ours, taken over from the silent, given back; and delayed tasks.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/log.hpp"
#include "federation/importer.hpp"
#include "federation/json_text.hpp"
#include "federation/records.hpp"
#include "federation/scripts.hpp"
#include "federation/stream_entry.hpp"

namespace stem::federation {
namespace {

constexpr std::size_t kRenewalsAtOnce = 100;
constexpr std::int64_t kPromoteBusyNs = 20'000'000;
constexpr std::int64_t kPromoteIdleNs = 500'000'000;
constexpr std::int64_t kPutOffNs = 1'000'000'000;
constexpr std::size_t kMostForeignFields = 1000;  // a script takes no more than some thousand words at once

}  // namespace

// ---- leases

// It waits here and nobody has room for it: back to the end of its lane, for whoever has. We hold its lease, so that
// nobody starts it meanwhile; killed on the way, it is an imported task as before, or one that is not ours any more.
void Importer::give_back(const engine::Lease& lease) {
  const auto found = std::find_if(tasks_.begin(), tasks_.end(), [&lease](const Entry& entry) {
    return entry.second.id.slot() == lease.slot && entry.second.id.generation() == lease.word.generation();
  });
  const bool can = found != tasks_.end() && found->second.confirmed && !found->second.ending;
  const Queued queued = !can
                            ? Queued::kNotReady
                            : tell({"EVAL", kReturnScript, "1", streams_[found->second.lane], group_, options_.consumer,
                                    found->second.entry},
                                   [this, lease, at = &*found](const Reply& reply) { on_returned(lease, *at, reply); });
  if (queued != Queued::kYes) return outbox_.put_off(lease, clocks_.now_ns + kPutOffNs);
  found->second.ending = true;
}

void Importer::on_returned(const engine::Lease& lease, Entry& entry, const Reply& reply) {
  entry.second.ending = false;
  if (!reply.is_integer()) return outbox_.put_off(lease, clocks_.now_ns + kPutOffNs);
  ++(reply.integer != 0 ? stats_.returned : stats_.fenced);
  entry.second.revoked = false;  // it is not over
  engine::TaskView view;
  if (engine_.view(lease, view))
    (void)engine_.cancel(lease, view, shm::Counter::kCancelled, {"returned", "other hosts have room for it"},
                         clocks_.now_ns);
  finish(entry);
}

void Importer::renew() {
  std::vector<Entry*> due[kLanes];
  for (auto& entry : tasks_) {
    Task& task = entry.second;
    if (!task.confirmed || task.renewing || clocks_.now_ns < task.renewed_ns + task.visibility_ns / 3) continue;
    if (!on_time(task)) {
      renew_checked(entry);
    } else if (due[task.lane].size() < kRenewalsAtOnce) {
      due[task.lane].push_back(&entry);
    }
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    if (due[lane].empty()) continue;
    argv_.assign({"EVAL", kRenewManyScript, "1", streams_[lane], group_, options_.consumer});
    std::vector<std::string> ids;
    for (const Entry* entry : due[lane]) {
      argv_.push_back(entry->second.entry);
      ids.push_back(entry->first);
    }
    const Queued queued =
        tell(std::span<const std::string_view>(argv_), [this, ids = std::move(ids), sent_ns = clocks_.now_ns](
                                                           const Reply& reply) { on_renewed(ids, reply, sent_ns); });
    if (queued != Queued::kYes) continue;
    for (Entry* entry : due[lane]) entry->second.renewing = true;
  }
}

void Importer::on_renewed(const std::vector<std::string>& ids, const Reply& reply, std::int64_t sent_ns) {
  for (const std::string& id : ids) {
    const auto found = tasks_.find(id);
    if (found == tasks_.end()) continue;
    Task& task = found->second;
    task.renewing = false;
    if (!reply.is_array()) continue;
    const bool others = std::any_of(reply.elements.begin(), reply.elements.end(),
                                    [&task](const Reply& entry) { return entry.text == task.entry; });
    if (!others)
      task.renewed_ns = sent_ns;
    else if (!task.ending)
      fence(*found);
  }
}

void Importer::renew_checked(Entry& entry) {
  const Queued queued =
      tell({"EVAL", kRenewScript, "1", streams_[entry.second.lane], group_, options_.consumer, entry.second.entry},
           [this, id = entry.first, sent_ns = clocks_.now_ns](const Reply& reply) {
             const auto found = tasks_.find(id);
             if (found == tasks_.end()) return;
             found->second.renewing = false;
             if (!reply.is_integer()) return;
             if (reply.integer != 0)
               found->second.renewed_ns = sent_ns;
             else if (!found->second.ending)
               fence(*found);
           });
  entry.second.renewing = queued == Queued::kYes;
}

// What nobody has renewed for as long as the task says: other hosts' that are gone, and what Redis counts as ours
// though we know nothing of it, since the reply that gave it to us, or the command that ended it, was lost.
void Importer::reclaim() {
  reclaim_at_ns_ = clocks_.now_ns + options_.reclaim_every_ns;
  if (credit() == 0 || reclaiming_ > 0) return;
  held_.clear();
  for (const auto& [id, task] : tasks_) held_.insert(place(task.lane, task.entry));
  for (const Waiting& one : waiting_) held_.insert(place(one.lane, one.entry));
  visibility_before_ = std::exchange(visibility_of_, {});
  for (int lane = 0; lane < kLanes; ++lane) look_for_idle(lane, "-");
}

void Importer::look_for_idle(int lane, const std::string& from) {
  const Queued queued = tell({"XPENDING", streams_[lane], group_, "IDLE", "100", from, "+", kPendingPage},
                             [this, lane](const Reply& reply) { on_idle(lane, reply); });
  if (queued == Queued::kYes) ++reclaiming_;
}

void Importer::on_idle(int lane, const Reply& reply) {
  --reclaiming_;
  if (reply.is_error() && reply.error == RedisError::kNoGroup && groups_made_) make_groups();
  for (const Reply& one : reply.elements) {
    if (one.elements.size() != 4) continue;
    const std::string id(one.elements[0].text);
    if (one.elements[1].text == options_.consumer && held_.contains(place(lane, id))) continue;
    const std::int64_t idle_ms = one.elements[2].integer;
    const std::int64_t deliveries = one.elements[3].integer;
    if (const auto known = visibility_before_.find(place(lane, id)); known != visibility_before_.end()) {
      visibility_of_.insert(*known);
      if (idle_ms >= known->second) claim(lane, id, known->second, deliveries);
      continue;
    }
    (void)tell({"EVAL", kLookScript, "1", streams_[lane], id, kMostEntryBytesText},
               [this, lane, id, idle_ms, deliveries](const Reply& told) {
                 if (told.is_array()) return claim_large(lane, id, told);
                 if (!told.is_text()) return;
                 Envelope asked;
                 asked.visibility_timeout_ms = number_of(told.text);
                 const std::int64_t least_ms = visibility_ms(asked, options_.visibility_ms);
                 visibility_of_.emplace(place(lane, id), least_ms);
                 if (idle_ms >= least_ms) claim(lane, id, least_ms, deliveries);
               });
  }
  // Those at the front may be renewed for hours: the lost are behind them.
  if (reply.elements.size() == kPendingPageEntries && reply.elements.back().elements.size() == 4)
    look_for_idle(lane, fmt::format("({}", reply.elements.back().elements[0].text));
}

void Importer::claim(int lane, const std::string& id, std::int64_t idle_ms, std::int64_t deliveries) {
  if (credit() == 0) return;
  const std::string least = number(idle_ms);
  (void)tell({"XCLAIM", streams_[lane], group_, options_.consumer, least, id},
             [this, lane, deliveries, sent_ns = clocks_.now_ns](const Reply& reply) {
               for (const Reply& entry : reply.elements) {
                 if (entry.elements.size() != 2) continue;
                 ++stats_.reclaimed;
                 accept_again(lane, entry, deliveries, sent_ns);
               }
             });
}

// By its name alone: it is refused unread.
void Importer::claim_large(int lane, const std::string& id, const Reply& looked) {
  if (looked.elements.size() != 2) return;
  const std::string least = number(options_.visibility_ms);
  (void)tell({"XCLAIM", streams_[lane], group_, options_.consumer, least, id, "JUSTID"},
             [this, lane, id, bytes = looked.elements[0].integer,
              task = std::string(looked.elements[1].text)](const Reply& reply) {
               if (!reply.is_array() || reply.elements.empty()) return;
               ++stats_.reclaimed;
               refuse_large(lane, id, bytes, task);
             });
}

// ---- delayed tasks

void Importer::promote() {
  if (promoting_) return;
  promote_at_ns_ = clocks_.now_ns + kPromoteIdleNs;
  promoting_ =
      tell({"EVAL", kDueScript, "1", delayed_key_}, [this](const Reply& reply) { on_due(reply); }) == Queued::kYes;
}

void Importer::on_due(const Reply& reply) {
  promoting_ = false;
  if (!reply.is_array()) return;
  if (!reply.elements.empty()) promote_at_ns_ = clocks_.now_ns + kPromoteBusyNs;
  for (const Reply& member : reply.elements) {
    Envelope envelope;
    if (const auto read = decode_json(member.text, envelope); !read) {
      bury_member(member.text, read.error().message);
    } else if (envelope.foreign.size() > kMostForeignFields) {
      bury_member(member.text, "it has more fields than a task may have");
    } else if (const auto checked = check_signature(envelope); !checked) {
      bury_unsigned(member.text, envelope, checked.error());
    } else {
      promote(member.text, envelope);
    }
  }
}

void Importer::promote(std::string_view member, Envelope& envelope) {
  // What is signed stays as it is; a time that is over says nothing any more.
  if (!is_signed(envelope.view())) envelope.not_before_us.reset();
  const StreamFields fields(envelope.view());
  const int lane = static_cast<int>(std::clamp<std::int64_t>(envelope.priority, 0, kLanes - 1));
  argv_.assign({"EVAL", kPromoteScript, "2", delayed_key_, streams_[lane], member});
  fields.append_to(argv_);
  (void)tell(std::span<const std::string_view>(argv_), [this](const Reply& reply) { on_moved(reply); });
}

void Importer::bury_member(std::string_view member, std::string_view why) {
  ++stats_.invalid;
  std::string letter, meta = "{\"error\":";
  append_json_string(meta, why);
  meta += ",\"member\":";
  append_json_string(meta, member);
  meta += '}';
  EnvelopeView nothing;
  nothing.id = "unreadable";
  nothing.name = "unreadable";
  nothing.queue = options_.queue;
  append_dead_letter_json(letter, nothing, "payload-invalid", meta, clocks_.wall_now_us);
  (void)tell({"EVAL", kBuryMemberScript, "2", delayed_key_, dead_key_, member, letter},
             [this](const Reply& reply) { on_moved(reply); });
}

void Importer::bury_unsigned(std::string_view member, const Envelope& envelope, const Error& why) {
  ++stats_.unsigned_;
  engine_.self().count(queue_, shm::Counter::kSignatureInvalid);
  ++stats_.dead;
  std::string letter;
  append_dead_letter_json(letter, envelope.view(), "signature-invalid", error_json(why.message), clocks_.wall_now_us);
  const std::string key = keys_.result(options_.queue, envelope.id), ttl = number(options_.result_ttl_ms);
  const std::string result = refused_status(envelope.id, "signature-invalid", clocks_.wall_now_us);
  (void)tell({"EVAL", kRefuseMemberScript, "3", delayed_key_, dead_key_, key, member, letter, result, ttl},
             [this](const Reply& reply) { on_moved(reply); });
  log::warn("a delayed task was refused", {{"queue", options_.queue}, {"task", envelope.id}, {"error", why.message}});
}

// It is where it was when Redis refused, and comes again.
void Importer::on_moved(const Reply& reply) {
  if (!reply.is_error()) return;
  promote_at_ns_ = clocks_.now_ns + kRefusedPauseNs;
  if (reply.error != RedisError::kLost && reply.error != RedisError::kNotSent)
    log::warn("Redis refuses to move delayed tasks", {{"queue", options_.queue}, {"error", reply.text}});
}

}  // namespace stem::federation
