// The importer and revokes: what is revoked before it comes never becomes a task here; what is here already is revoked
// as by a command of this host, and how it ends is told as any end is.
#include <algorithm>

#include "base/log.hpp"
#include "engine/control.hpp"
#include "federation/importer.hpp"
#include "federation/json_text.hpp"
#include "federation/records.hpp"
#include "federation/scripts.hpp"
#include "federation/stream_entry.hpp"

namespace stem::federation {
namespace {

constexpr std::int64_t kLookEveryNs = 100'000'000;
constexpr std::size_t kIdsAtOnce = 256;

}  // namespace

// Tasks that were made many at a time are known to their maker as items of a run; the one that travels has a name of its
// own, and says which item it was.
std::string Importer::item_id(const Envelope& envelope) {
  MemberReader members(envelope.meta);
  for (JsonMember m; members.next(m);)
    if (m.name == kRunItemMember && m.is_string()) return item_id(envelope.id, m.value.substr(1, m.value.size() - 2));
  return {};
}

std::string Importer::item_id(std::string_view id, std::string_view run_item) {
  const std::size_t host = id.find('-');
  if (host == id.npos || run_item.empty()) return {};
  return std::string(id.substr(0, host + 1)).append(run_item);
}

void Importer::forget_revokes(const std::string& id, const std::string& item) {
  revokes_->forget(id);
  if (!item.empty()) revokes_->forget(item);
}

// While it is looked up it waits as one that there is no room for: it is ours in Redis, and counted.
void Importer::check_then_import(int lane, std::string_view entry, Envelope& envelope, std::int64_t since_ns) {
  if (!fenced_) return (void)said(Queued::kNotReady);  // nor could its end be told
  std::vector<std::string> ids{envelope.id};
  if (std::string item = item_id(envelope); !item.empty()) ids.push_back(std::move(item));
  const bool asked = revokes_->ask(
      ids, [this, at = place(lane, entry)](const RevokeDesk::Answers& answers) { on_checked(at, answers); });
  waiting_.push_back({lane, std::string(entry), std::move(envelope), since_ns, asked});
}

// Without an answer it is imported: look_for_revokes() asks again while it is here.
void Importer::on_checked(const std::string& at, const RevokeDesk::Answers& answers) {
  const auto one = std::find_if(waiting_.begin(), waiting_.end(), [&at](const Waiting& waiting) {
    return waiting.checking && place(waiting.lane, waiting.entry) == at;
  });
  if (one == waiting_.end()) return;
  one->checking = false;
  const auto revoke =
      std::find_if(answers.begin(), answers.end(), [](const auto& answer) { return answer.has_value(); });
  if (revoke == answers.end()) return;
  end_revoked(one->lane, one->entry, one->envelope, **revoke);
  waiting_.erase(one);
}

// One step ends it in Redis, if it still is ours.
void Importer::end_revoked(int lane, const std::string& entry, const Envelope& envelope, const Revoke& revoke) {
  TaskStatus status;
  status.id = envelope.id;
  status.state = "cancelled";
  status.error = "{\"type\":\"revoked\",\"message\":";
  append_json_string(status.error, revoke.reason.empty() ? "revoked before it ran" : revoke.reason);
  status.error += '}';
  status.attempt = envelope.attempt;
  status.created_at_us = envelope.enqueued_at_us;
  status.updated_at_us = clocks_.wall_now_us;
  std::string result;
  append_json(result, status);
  const Queued queued = settle_one(lane, entry, envelope.id, unique_key(envelope.meta), result, options_.result_ttl_ms,
                                   "", [this, id = envelope.id, item = item_id(envelope)](const Reply& reply) {
                                     if (!reply.is_integer()) return heard(reply);
                                     if (reply.integer == 0) return;  // another's by now, who looks it up as we did
                                     ++stats_.revoked;
                                     forget_revokes(id, item);
                                   });
  if (!said(queued)) return;
  log::info("a revoked task was not run", {{"queue", options_.queue}, {"task", envelope.id}});
}

void Importer::look_for_revokes() {
  revokes_at_ns_ = clocks_.now_ns + kLookEveryNs;
  std::vector<std::string> ids, tasks;  // a name, and whose it is
  const auto ask = [this, &ids, &tasks] {
    if (!ids.empty())
      (void)revokes_->ask(ids, [this, tasks](const RevokeDesk::Answers& answers) { on_revoked(tasks, answers); });
    ids.clear();
    tasks.clear();
  };
  for (const auto& [id, task] : tasks_) {
    if (task.ending) continue;
    ids.push_back(id);
    tasks.push_back(id);
    if (!task.item.empty()) {
      ids.push_back(task.item);
      tasks.push_back(id);
    }
    if (ids.size() >= kIdsAtOnce) ask();
  }
  ask();
}

// Again each time: one that runs and fails may be waiting for its next attempt by now.
void Importer::on_revoked(const std::vector<std::string>& tasks, const RevokeDesk::Answers& answers) {
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const auto found = tasks_.find(tasks[i]);
    if (!answers[i] || found == tasks_.end()) continue;
    found->second.revoked = true;
    (void)engine::Control(engine_).revoke(found->second.id, answers[i]->terminate, clocks_.now_ns);
  }
}

}  // namespace stem::federation
