#include "federation/cluster_view.hpp"

#include <algorithm>

#include "federation/registry.hpp"

namespace stem::federation {
namespace {

constexpr std::int64_t kSilentNs = kHeartbeatEveryNs * 5 / 2;
constexpr std::size_t kMostMembers = 100'000;

std::string text_in(const nlohmann::ordered_json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// How old it is, by how much longer Redis keeps it: the clocks of hosts may differ.
Result<void> read_beat(BlockingClient& client, const Keys& keys, Member& member) {
  const std::string key = keys.worker_heartbeat(member.id);
  const auto kept = client.ask({"PTTL", key});
  if (!kept.ok()) return kept.error();
  const auto text = client.ask({"GET", key});
  if (!text.ok()) return text.error();
  if (text->kind != Reply::Kind::kString) return {};
  if (kept->integer >= 0) member.age_ns = std::max<std::int64_t>(0, kHeartbeatKeptMs - kept->integer) * 1'000'000;
  member.state = member.age_ns > kSilentNs ? Member::State::kSilent : Member::State::kAlive;
  member.beat = nlohmann::ordered_json::parse(text->text, nullptr, /*allow_exceptions=*/false);
  if (!member.beat.is_object()) {
    member.beat = nullptr;
    return {};
  }
  const auto extras = member.beat.find("extras");
  if (extras == member.beat.end() || !extras->is_object()) return {};
  member.kind = text_in(*extras, "kind");
  member.node = text_in(*extras, "node");
  return {};
}

// A host that is gone has its kind in its name alone.
void guess_kind(Member& member) {
  constexpr std::string_view kGateway = "gateway:";
  if (!member.kind.empty() || !member.id.starts_with(kGateway)) return;
  member.kind = "gateway";
  member.node = member.id.substr(kGateway.size());
}

}  // namespace

std::string_view to_string(Member::State state) noexcept {
  switch (state) {
    case Member::State::kAlive: return "alive";
    case Member::State::kSilent: return "silent";
    case Member::State::kGone: return "gone";
  }
  return "gone";
}

Result<std::vector<Member>> members_of(BlockingClient& client, const Keys& keys) {
  const auto ids = client.ask({"SMEMBERS", keys.worker_heartbeats()});
  if (!ids.ok()) return ids.error().within(keys.worker_heartbeats());
  std::vector<Member> members;
  for (const OwnedReply& id : ids->elements) {
    if (members.size() == kMostMembers) break;
    Member member;
    member.id = id.text;
    if (auto read = read_beat(client, keys, member); !read.ok()) return read.error();
    guess_kind(member);
    members.push_back(std::move(member));
  }
  std::sort(members.begin(), members.end(), [](const Member& a, const Member& b) {
    return a.is_gateway() != b.is_gateway() ? a.is_gateway() : a.id < b.id;
  });
  return members;
}

Result<QueueLag> lag_of(BlockingClient& client, const Keys& keys, const std::string& queue) {
  QueueLag lag;
  lag.name = queue;
  for (int lane = 0; lane < kLanes; ++lane) {
    const std::string stream = keys.stream(queue, lane);
    const auto length = client.ask({"XLEN", stream});
    if (!length.ok()) return length.error().within(stream);
    if (length->integer == 0) continue;
    lag.length += length->integer;
    const auto pending = client.ask({"XPENDING", stream, keys.group(queue)});  // no group yet: an error
    if (pending.ok() && !pending->elements.empty()) lag.pending += pending->elements[0].integer;
  }
  const auto delayed = client.ask({"ZCARD", keys.delayed(queue)});
  if (!delayed.ok()) return delayed.error().within(keys.delayed(queue));
  lag.delayed = delayed->integer;
  const auto dead = client.ask({"LLEN", keys.dead(queue)});
  if (!dead.ok()) return dead.error().within(keys.dead(queue));
  lag.dead = dead->integer;
  return lag;
}

}  // namespace stem::federation
