#include "federation/limit_desk.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include "base/log.hpp"
#include "federation/limit_scripts.hpp"
#include "shm/names.hpp"

namespace stem::federation {
namespace {

constexpr std::int64_t kMs = 1'000'000;
constexpr std::int64_t kLookNs = 10 * kMs;       // between two looks at what was taken
constexpr std::int64_t kContendedNs = 20 * kMs;  // between two questions while not all have what they want
constexpr std::int64_t kReachableNs = 2'000 * kMs;
constexpr std::int64_t kAnswerNs = 1'000 * kMs;   // without an answer for that long, Redis counts as unreachable
constexpr std::int64_t kRefusedNs = 5'000 * kMs;  // then it is tried again
constexpr std::int64_t kHorizonNs = 500 * kMs;    // places further ahead stay with the cluster
constexpr std::int64_t kBatchNs = 200 * kMs;      // a place that is not taken so long after its time is lost
constexpr std::int64_t kKeptNs = 10'000 * kMs;    // a row that nobody uses
constexpr std::int64_t kForgottenNs = 3'000 * kMs;
constexpr std::uint64_t kMostGuessed = 64;  // tasks that wait and are not remembered
constexpr std::int64_t kPeakNs = 1'000 * kMs;
constexpr std::int64_t kRenewNs = 200 * kMs;       // so long others wait before we know it
constexpr std::int64_t kPermitsNs = 20'000 * kMs;  // less than Redis keeps them: we know first that they are over
constexpr std::string_view kPermitsMs = "30000";
constexpr std::string_view kTurnMs = "200";
constexpr double kMostPlaces = 1e6;  // of one batch

double number_of(const Reply& reply) {
  double value = 0;
  if (!reply.is_text()) return static_cast<double>(reply.integer);
  (void)std::from_chars(reply.text.data(), reply.text.data() + reply.text.size(), value);
  return std::isfinite(value) ? value : 0;
}

}  // namespace

LimitDesk::LimitDesk(engine::Engine& engine, Redis& redis, const Keys& keys, std::string host,
                     std::vector<std::uint32_t> queues)
    : limits_(engine), redis_(redis), keys_(keys), host_(std::move(host)), queues_(std::move(queues)) {
  const std::uint32_t total = shm::queue_total(engine.segment());
  for (std::uint32_t queue = 0; queue < total; ++queue)
    if (std::find(queues_.begin(), queues_.end(), queue) == queues_.end()) limits_.keep(queue);
  for (const std::uint32_t queue : queues_) limits_.begin_sharing(queue);
}

void LimitDesk::on_ready() {
  for (auto& [index, row] : rows_) row.ask_at_ns = row.renew_at_ns = 0;
  refused_until_ns_ = 0;
  ready_ = true;
}

void LimitDesk::step(const Clocks& clocks) {
  clocks_ = clocks;
  if (queues_.empty() || !ready_ || !redis_.is_ready()) return;
  const bool answers = asked_ == answered_ || clocks.now_ns < waiting_since_ns_ + kAnswerNs;
  if (!answers || clocks.now_ns < refused_until_ns_) return;
  share(clocks.now_ns + kReachableNs);
  put_places();
  look();
}

void LimitDesk::look() {
  limits_.called(called_);
  for (const std::uint32_t index : called_) {
    auto [found, is_new] = rows_.try_emplace(index);
    Row& row = found->second;
    if (is_new) {
      row.key = limits_.key(index);
      row.used_ns = clocks_.now_ns;
    }
    if (row.asking || (clocks_.now_ns < row.look_at_ns && !limits_.is_wanted(index))) continue;
    row.look_at_ns = clocks_.now_ns + kLookNs;
    limits_.is_rate(index) ? look_at_rate(index, row) : look_at_places(index, row);
  }
}

void LimitDesk::share(std::int64_t until_ns) {
  for (const std::uint32_t queue : queues_) limits_.share(queue, until_ns);
}

bool LimitDesk::ask(Row& row, std::span<const std::string_view> argv, ReplyHandler handler) {
  if (redis_.command(argv, std::move(handler)) != Queued::kYes) return false;
  row.asking = true;
  if (asked_++ == answered_) waiting_since_ns_ = clocks_.now_ns;
  return true;
}

// The row whose question was answered; nullptr when the answer is of no use.
LimitDesk::Row* LimitDesk::answered(std::uint32_t index, const Reply& reply) {
  ++answered_;
  waiting_since_ns_ = clocks_.now_ns;
  const auto found = rows_.find(index);
  if (found == rows_.end()) return nullptr;
  found->second.asking = false;
  if (reply.is_array() && reply.elements.size() >= 2) {
    refusal_told_ = false;
    return &found->second;
  }
  if (reply.error == RedisError::kLost || reply.error == RedisError::kNotSent) return nullptr;
  // Nobody can be asked: from now on, not only when the last good answer is old.
  refused_until_ns_ = clocks_.now_ns + kRefusedNs;
  share(1);
  if (!refusal_told_) log::warn("Redis does not answer about shared limits", {{"error", reply.text}});
  refusal_told_ = true;
  return nullptr;
}

// ---- rates

void LimitDesk::look_at_rate(std::uint32_t index, Row& row) {
  const engine::Rate rate = limits_.rate(index);
  if (!rate) {  // nonsense in the segment
    (void)limits_.take_wanted(index);
    if (limits_.drop(index)) rows_.erase(index);
    return;
  }
  const engine::SharedLimits::Places places = limits_.places(index, clocks_.now_ns);
  const std::int64_t interval = std::max<std::int64_t>(engine::interval_ns(rate), 1);
  double taken = 0;
  for (int i = 0; i < 2; ++i) {
    const std::int64_t next = places.next_ns[i];
    taken += static_cast<double>(std::max<std::int64_t>(next - row.next_ns[i], 0) / interval);
    row.next_ns[i] = next;
  }
  const std::uint64_t looks = limits_.take_wanted(index);
  row.backlog += limits_.take_newcomers(index);
  row.backlog -= std::min(row.backlog, static_cast<std::uint64_t>(taken));
  if (looks == 0 && clocks_.now_ns >= row.used_ns + kForgottenNs) row.backlog = 0;  // revoked, or not known to us
  if (looks > 0) row.backlog = std::max<std::uint64_t>(row.backlog, 1);
  row.per_look += (taken - row.per_look) * 0.1;
  if (taken > 0 || looks > 0) row.used_ns = clocks_.now_ns;
  if (clocks_.now_ns >= std::max(row.used_ns, row.ask_at_ns) + kKeptNs) {
    if (limits_.drop(index)) rows_.erase(index);
    return;
  }
  const double count =
      std::min(static_cast<double>(row.backlog) + 2 * row.per_look, kMostPlaces) - static_cast<double>(places.left);
  if (count >= 1 && places.room && clocks_.now_ns >= row.ask_at_ns)
    ask_rate(index, row, static_cast<std::uint64_t>(count));
}

void LimitDesk::ask_rate(std::uint32_t index, Row& row, std::uint64_t count) {
  const engine::Rate rate = limits_.rate(index);
  const std::string key = keys_.rate(fmt::format("{:016x}", row.key));
  const std::string wanted = fmt::to_string(count);
  const std::string interval = fmt::format("{:.3f}", static_cast<double>(engine::interval_ns(rate)) / 1000);
  const std::string tolerance = fmt::format("{:.3f}", static_cast<double>(engine::tolerance_ns(rate)) / 1000);
  const std::string horizon = fmt::to_string(kHorizonNs / 1000);
  const std::string_view argv[] = {"EVAL", kTakeRateScript, "1", key, wanted, interval, tolerance, horizon};
  (void)ask(row, argv, [this, index, rate](const Reply& reply) { on_rate(index, reply, rate); });
}

void LimitDesk::on_rate(std::uint32_t index, const Reply& reply, engine::Rate rate) {
  if (answered(index, reply) == nullptr) return;
  const double places = std::clamp(number_of(reply.elements[0]), 0.0, kMostPlaces);
  const double far_us = 4.0 * static_cast<double>(engine::period_ns(rate) + kHorizonNs) / 1000;
  arrived_.push_back({index, rate, places, std::clamp(number_of(reply.elements[1]), 0.0, far_us)});
}

// Their times count from now, which is after Redis said so: rather late than too many.
void LimitDesk::put_places() {
  for (const Arrived& one : arrived_) {
    const auto found = rows_.find(one.index);
    if (found == rows_.end() || one.rate != limits_.rate(one.index)) continue;
    Row& row = found->second;
    const std::int64_t first_ns = clocks_.now_ns + static_cast<std::int64_t>(one.from_now_us * 1000);
    if (one.places < 1) {
      row.ask_at_ns = first_ns;
      limits_.pace(one.index, first_ns);
      continue;
    }
    const auto places = static_cast<std::uint64_t>(one.places);
    const std::int64_t last_ns =
        first_ns + static_cast<std::int64_t>(places) * engine::interval_ns(one.rate) - engine::tolerance_ns(one.rate);
    const std::int64_t until_ns = std::max(last_ns, clocks_.now_ns) + kBatchNs;
    const int batch = limits_.add_places(one.index, first_ns, places, until_ns, clocks_.now_ns);
    if (batch >= 0) row.next_ns[batch] = first_ns;
  }
  arrived_.clear();
}

// ---- places of a concurrency limit

void LimitDesk::look_at_places(std::uint32_t index, Row& row) {
  row.wanted += limits_.take_wanted(index);
  const std::uint32_t running = limits_.running(index);
  // A look is no task: one that waits looks again and again. Who is remembered waits; beyond that nobody is.
  std::uint64_t waiting = limits_.waiting(index);
  if (row.wanted > 0 && (waiting == 0 || waiting >= shm::kLimiterWaiters))
    waiting = std::max<std::uint64_t>(waiting, std::min<std::uint64_t>(row.wanted, waiting == 0 ? 1 : kMostGuessed));
  const auto wants =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(running + waiting, limits_.most_at_once(index)));
  if (wants >= row.peak || row.contended || clocks_.now_ns >= row.peak_ns + kPeakNs) {
    row.peak = wants;
    row.peak_ns = clocks_.now_ns;
  }
  if (!row.contended) row.look_at_ns = row.renew_at_ns;
  if (clocks_.now_ns < row.ask_at_ns) return;
  const std::uint32_t permits = limits_.permits(index, clocks_.now_ns);
  const bool short_of = row.peak > permits && (row.wanted > 0 || row.contended);
  const bool too_many = row.peak < permits;
  if (short_of || too_many || row.contended || clocks_.now_ns >= row.renew_at_ns)
    ask_places(index, row, running, row.peak);
}

void LimitDesk::ask_places(std::uint32_t index, Row& row, std::uint32_t running, std::uint32_t wants) {
  std::uint32_t permits = limits_.permits(index, clocks_.now_ns);
  if (wants < permits) {
    // First nobody may start by them any more; then whoever has started is counted.
    limits_.lower_permits(index, wants);
    permits = wants;
    running = limits_.running(index);
  }
  const std::string key = keys_.places(fmt::format("{:016x}", row.key));
  const std::string has = fmt::to_string(std::max(permits, running));
  const std::string wanted = fmt::to_string(wants);
  const std::string limit = fmt::to_string(limits_.most_at_once(index));
  const std::string_view argv[] = {"EVAL", kTakePlacesScript, "1", key, host_, has, wanted, limit, kPermitsMs, kTurnMs};
  if (!ask(row, argv,
           [this, index, sent_ns = clocks_.now_ns](const Reply& reply) { on_places(index, reply, sent_ns); }))
    return;
  row.wanted = 0;
  row.ask_at_ns = clocks_.now_ns + kContendedNs;
  row.renew_at_ns = row.look_at_ns = clocks_.now_ns + kRenewNs;
}

void LimitDesk::on_places(std::uint32_t index, const Reply& reply, std::int64_t sent_ns) {
  Row* row = answered(index, reply);
  if (row == nullptr) return;
  const double most = limits_.most_at_once(index);
  const auto granted = static_cast<std::uint32_t>(std::clamp(number_of(reply.elements[0]), 0.0, most));
  const auto share = static_cast<std::uint32_t>(std::clamp(number_of(reply.elements[1]), 0.0, most));
  const bool others_wait = reply.elements.size() > 2 && number_of(reply.elements[2]) > 0;
  limits_.set_permits(index, std::min(granted, share), sent_ns + kPermitsNs, clocks_.now_ns);
  row->contended = granted != share || row->peak > granted || others_wait;
  if (row->contended) row->look_at_ns = row->ask_at_ns;
  if (granted > 0 || row->peak > 0 || row->wanted > 0) return;
  if (limits_.drop(index)) rows_.erase(index);
}

}  // namespace stem::federation
