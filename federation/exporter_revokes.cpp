// The exporter and revokes: somebody here wishes a task revoked that has left, or is about to (Control::revoke). The
// wish stands with the task in the segment, and the task stays here until its end has come home; so a gateway that is
// killed leaves both to the next one.
#include "base/log.hpp"
#include "federation/exporter.hpp"

namespace stem::federation {
namespace {

// Wishes are told to us as they come; this finds what a gateway before us was told.
constexpr std::int64_t kLookEveryNs = 2'000'000'000;

}  // namespace

void Exporter::note_wish(const Entry& entry) {
  const engine::Outbox::Wish wish = outbox_.wish(entry.second.parcel);
  if (wish == engine::Outbox::Wish::kNone) return;
  Wished& wished = wished_[entry.first];
  // One that was told is told again when it says more.
  if (wish == engine::Outbox::Wish::kTerminate && !wished.terminate) wished = {.terminate = true};
}

void Exporter::look_for_wishes() {
  wishes_at_ns_ = clocks_.now_ns + kLookEveryNs;
  for (const Entry& entry : tasks_) note_wish(entry);
}

void Exporter::revoke(engine::TaskId id) {
  if (const auto entry = tasks_.find(wire_id(transcript_.host(), id)); entry != tasks_.end()) note_wish(*entry);
}

// What Redis has never seen ends here.
bool Exporter::cancel_here(Entry& entry) {
  if (outbox_.wish(entry.second.parcel) == engine::Outbox::Wish::kNone) return false;
  (void)outbox_.cancel(entry.second.parcel, clocks_.now_ns);
  if (wished_.erase(entry.first) != 0 && revokes_ != nullptr) revokes_->forget(entry.first);
  tasks_.erase(entry.first);
  return true;
}

void Exporter::tell_revokes() {
  for (auto at = wished_.begin(); at != wished_.end();) {
    const auto entry = tasks_.find(at->first);
    if (entry == tasks_.end()) {  // over
      at = wished_.erase(at);
      continue;
    }
    Wished& wished = (at++)->second;
    if (wished.told || wished.telling || revokes_ == nullptr || entry->second.stage == Stage::kToSend) continue;
    Revoke revoke;
    revoke.name_space = keys_.name_space();
    revoke.task_id = entry->first;
    revoke.version = revoke.issued_us = clocks_.wall_now_us;
    revoke.expires_us = clocks_.wall_now_us + kRevokeKeptUs;
    revoke.terminate = wished.terminate;
    revoke.requested_by = "gateway:" + transcript_.host();
    wished.telling = revokes_->publish(revoke, [this, id = entry->first](bool told) {
      const auto found = wished_.find(id);
      if (found == wished_.end()) return;
      found->second.telling = false;
      found->second.told = found->second.told || told;
    });
    if (wished.telling) log::info("a revoke goes to other hosts", {{"queue", options_.queue}, {"task", entry->first}});
  }
}

}  // namespace stem::federation
