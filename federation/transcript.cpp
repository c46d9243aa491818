#include "federation/transcript.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "engine/retry.hpp"
#include "federation/iso_time.hpp"
#include "federation/json_text.hpp"
#include "federation/payload_text.hpp"
#include "shm/names.hpp"

namespace stem::federation {
namespace {

constexpr std::string_view kRetryNames[] = {"exponential", "linear", "constant", "user"};

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// `object` with members put at its end, into a string whose memory is used again.
class MetaWriter {
 public:
  MetaWriter(std::string_view object, std::string& out) : out_(out) {
    const bool empty = object.size() < 2 || object.find_first_not_of(" \t\r\n", 1) == object.size() - 1;
    out_ = empty ? std::string_view("{") : object.substr(0, object.rfind('}'));
    first_ = empty;
  }
  void number(std::string_view name, std::int64_t value) { raw(name, fmt::to_string(value)); }
  // `name` is one of ours: nothing in it needs an escape.
  void raw(std::string_view name, std::string_view value) {
    begin();
    out_ += '"';
    out_ += name;
    out_ += "\":";
    out_ += value;
  }
  void foreign(std::string_view name, std::string_view value) {
    begin();
    append_json_string(out_, name);
    out_ += ':';
    out_ += value;
  }
  void end() { out_ += '}'; }

 private:
  void begin() {
    if (!first_) out_ += ',';
    first_ = false;
  }

  std::string& out_;
  bool first_ = true;
};

void write_meta(const engine::TaskView& task, bool let_go, const Clocks& clocks, bool is_text, std::string& into) {
  const engine::TaskExtras& e = task.extras;
  MetaWriter meta(task.has_extras && !e.meta.empty() ? e.meta : std::string_view("{}"), into);
  if ((task.flags & shm::kKeepResult) == 0) meta.raw("stem.ignoreResult", "true");
  if (let_go) meta.raw("stem.letGo", "true");
  if (is_text) meta.raw(kJsonTextMember, "true");
  if ((task.flags & shm::kInPlace) != 0) meta.raw("stem.inPlace", "true");
  if ((task.flags & shm::kNoRenew) != 0) meta.raw("stem.noRenew", "true");
  if (!task.has_extras) return meta.end();
  if (e.soft_limit_ns != 0) meta.number("stem.softTimeLimitMs", e.soft_limit_ns / 1'000'000);
  if (e.hard_limit_ns != 0) meta.number("stem.timeLimitMs", e.hard_limit_ns / 1'000'000);
  if (e.expires_ns != 0) {
    std::string at;
    append_iso_time(at, clocks.wall_us(e.expires_ns));
    meta.raw("stem.expiresAt", '"' + at + '"');
  }
  if (e.retry != engine::RetryPolicy{})
    meta.raw("stem.retryPolicy",
             fmt::format(R"({{"kind":"{}","baseMs":{},"maxMs":{}}})", kRetryNames[static_cast<int>(e.retry.kind) & 3],
                         e.retry.base_ns / 1'000'000, e.retry.max_ns / 1'000'000));
  const auto text = [&meta](std::string_view name, std::string_view value) {
    if (value.empty()) return;
    std::string quoted;
    append_json_string(quoted, value);
    meta.raw(name, quoted);
  };
  text("stem.retryFor", e.retry_for);
  text("stem.noRetryFor", e.no_retry_for);
  text("stem.idempotencyKey", e.idempotency_key);
  if (e.unique_everywhere && e.unique_key != 0) meta.raw(kUniqueMember, fmt::format(R"("{:016x}")", e.unique_key));
  const auto rate = [&meta](std::string_view name, std::uint64_t key, engine::Rate of) {
    if (of) meta.raw(name, fmt::format(R"({{"key":"{:016x}","count":{},"seconds":{}}})", key, of.count, of.period_s));
  };
  rate("stem.rateLimit", e.rate_key, e.rate);
  rate("stem.groupRateLimit", e.group_rate_key, e.group_rate);
  if (e.concurrency_limit != 0)
    meta.raw("stem.concurrencyLimit",
             fmt::format(R"({{"key":"{:016x}","count":{}}})", e.concurrency_key, e.concurrency_limit));
  if (e.limits_fail_closed) meta.raw("stem.rateLimiterFailureMode", R"("failClosed")");
  meta.end();
}

std::int64_t ms_to_ns(std::string_view number) {
  std::int64_t ms = 0;
  (void)std::from_chars(number.data(), number.data() + number.size(), ms);
  return ms <= 0 ? 0 : std::min<std::int64_t>(ms, INT64_MAX / 2'000'000) * 1'000'000;
}

void read_retry_policy(std::string_view object, engine::RetryPolicy& policy) {
  const auto members = json_members(object);
  if (!members) return;
  for (const JsonMember& m : *members) {
    if (m.name == "baseMs") policy.base_ns = ms_to_ns(m.value);
    if (m.name == "maxMs") policy.max_ns = ms_to_ns(m.value);
    if (m.name != "kind" || !m.is_string()) continue;
    const std::string kind = json_string_value(m.value);
    for (std::size_t i = 0; i < std::size(kRetryNames); ++i)
      if (kind == kRetryNames[i]) policy.kind = static_cast<engine::RetryKind>(i);
  }
}

// Of a rate or of a concurrency limit; what makes no sense is no limit.
struct LimitMember {
  std::uint64_t key = 0;
  std::uint32_t count = 0, seconds = 0;
  engine::Rate rate() const {
    return key != 0 && (seconds == 1 || seconds == 60 || seconds == 3600) ? engine::Rate{count, seconds}
                                                                          : engine::Rate{};
  }
};

LimitMember read_limit(std::string_view object) {
  LimitMember limit;
  const auto members = json_members(object);
  if (!members) return limit;
  for (const JsonMember& m : *members) {
    const auto number = [&m](auto& into) {
      (void)std::from_chars(m.value.data(), m.value.data() + m.value.size(), into);
    };
    if (m.name == "count") number(limit.count);
    if (m.name == "seconds") number(limit.seconds);
    if (m.name != "key" || !m.is_string()) continue;
    const std::string key = json_string_value(m.value);
    (void)std::from_chars(key.data(), key.data() + key.size(), limit.key, 16);
  }
  return limit;
}

std::string unique_of(const JsonMember& m) { return json_string_value(m.value).substr(0, 64); }

// True when the member was one that only says how the task is run.
bool take_member(const JsonMember& m, const Clocks& clocks, ImportedTask& into) {
  const std::string_view name = m.name;  // compared by its length first
  engine::TaskExtras& extras = into.extras;
  if (name == "stem.ignoreResult") {
    into.wanted = m.value != "true";
  } else if (name == "stem.letGo") {
    into.let_go = m.value == "true";
  } else if (name == kJsonTextMember) {
    into.is_text = m.value == "true";
  } else if (name == "stem.inPlace") {
    into.spec.in_place = m.value == "true";
  } else if (name == "stem.noRenew") {
    into.spec.auto_renew = m.value != "true";
  } else if (name == "stem.softTimeLimitMs") {
    extras.soft_limit_ns = ms_to_ns(m.value);
  } else if (name == "stem.timeLimitMs") {
    extras.hard_limit_ns = ms_to_ns(m.value);
  } else if (name == "stem.retryPolicy" && m.is_object()) {
    read_retry_policy(m.value, extras.retry);
  } else if (name == "stem.retryFor" && m.is_string()) {
    into.retry_for = json_string_value(m.value);
    extras.retry_for = into.retry_for;
  } else if (name == "stem.noRetryFor" && m.is_string()) {
    into.no_retry_for = json_string_value(m.value);
    extras.no_retry_for = into.no_retry_for;
  } else if (name == "stem.idempotencyKey" && m.is_string()) {
    into.idempotency_key = json_string_value(m.value);
    extras.idempotency_key = into.idempotency_key;
  } else if (name == "stem.rateLimit" && m.is_object()) {
    const LimitMember limit = read_limit(m.value);
    extras.rate_key = limit.key;
    extras.rate = limit.rate();
  } else if (name == "stem.groupRateLimit" && m.is_object()) {
    const LimitMember limit = read_limit(m.value);
    extras.group_rate_key = limit.key;
    extras.group_rate = limit.rate();
  } else if (name == "stem.concurrencyLimit" && m.is_object()) {
    const LimitMember limit = read_limit(m.value);
    extras.concurrency_key = limit.key;
    extras.concurrency_limit = limit.key != 0 ? limit.count : 0;
  } else if (name == "stem.rateLimiterFailureMode") {
    extras.limits_fail_closed = m.value == R"("failClosed")";
  } else if (name == "stem.expiresAt" && m.is_string()) {
    const auto at = parse_iso_time_us(json_string_value(m.value));
    if (!at) return false;
    extras.expires_ns = std::max<std::int64_t>(1, clocks.monotonic_ns(*at));
  } else {
    return false;
  }
  return true;
}

void read_meta(std::string_view meta, const Clocks& clocks, ImportedTask& into) {
  if (meta == "{}") return;
  MetaWriter rest("{}", into.meta);
  bool any = false;
  MemberReader members(meta);
  for (JsonMember m; members.next(m);) {
    if (take_member(m, clocks, into)) continue;
    if (m.name == kRunItemMember && m.is_string()) into.run_item = m.value.substr(1, m.value.size() - 2);
    if (m.name == kUniqueMember && m.is_string()) into.unique = unique_of(m);
    rest.foreign(m.name, m.value);
    any = true;
  }
  if (!any) return into.meta.clear();
  rest.end();
  into.extras.meta = into.meta;
}

}  // namespace

std::string wire_id(std::string_view host, engine::TaskId id) {
  const std::string task = to_string(id);
  std::string text;
  text.reserve(host.size() + 1 + task.size());
  text.append(host).append(1, '-').append(task);
  return text;
}

Transcript::Transcript(const shm::Segment& segment)
    : segment_(segment), host_(fmt::format("{:016x}", segment.header().created_realtime_ns)) {}

void Transcript::write(const engine::TaskView& task, bool let_go, const Clocks& clocks, Envelope& into) const {
  into.clear();
  into.id = wire_id(host_, task.id);
  into.name = shm::task_name(segment_, task.task);
  into.queue = shm::queue_name(segment_, task.queue);
  const std::string_view payload = as_text(task.payload);
  bool is_text = false;
  auto args = (task.flags & shm::kInPlace) == 0 ? json_of_message_pack(payload) : std::nullopt;
  if (args && args->front() == '{') {
    into.args = std::move(*args);
  } else if ((task.flags & shm::kInPlace) == 0 && is_json_object(payload)) {
    into.args = payload;
    is_text = true;
  } else {
    into.payload = payload;
  }
  if (task.has_extras && !task.extras.headers.empty()) into.headers = task.extras.headers;
  write_meta(task, let_go, clocks, is_text, into.meta);
  into.enqueued_at_us = clocks.wall_us(task.enqueued_ns);
  into.priority = task.priority;
  into.attempt = task.tally.attempts;
  into.max_retries = task.max_retries;
  if (task.has_extras && task.extras.visibility_ns != engine::kDefaultVisibilityNs)
    into.visibility_timeout_ms = task.extras.visibility_ns / 1'000'000;
}

std::string unique_key(std::string_view meta) {
  if (meta.find(kUniqueMember) == meta.npos) return {};
  const auto members = json_members(meta);
  if (!members) return {};
  for (const JsonMember& m : *members)
    if (m.name == kUniqueMember && m.is_string()) return unique_of(m);
  return {};
}

void read(const Envelope& envelope, const Clocks& clocks, ImportedTask& into) {
  into.spec = {};
  into.extras = {};
  engine::TaskSpec& spec = into.spec;
  engine::TaskExtras& extras = into.extras;
  spec.priority = static_cast<std::uint8_t>(std::clamp<std::int64_t>(envelope.priority, 0, shm::kPriorities - 1));
  spec.max_retries = static_cast<std::uint16_t>(std::clamp<std::int64_t>(envelope.max_retries, 0, UINT16_MAX));
  spec.attempt = static_cast<std::uint16_t>(std::clamp<std::int64_t>(envelope.attempt, 0, UINT16_MAX));
  if (envelope.not_before_us && *envelope.not_before_us > clocks.wall_now_us)
    spec.due_ns = clocks.monotonic_ns(*envelope.not_before_us);
  if (envelope.visibility_timeout_ms && *envelope.visibility_timeout_ms > 0)
    extras.visibility_ns = std::min<std::int64_t>(*envelope.visibility_timeout_ms, 86'400'000) * 1'000'000;
  if (envelope.headers != "{}") extras.headers = envelope.headers;
  read_meta(envelope.meta, clocks, into);
  std::string_view payload = envelope.payload ? std::string_view(*envelope.payload) : envelope.args;
  if (!envelope.payload && !into.is_text) {
    if (auto packed = message_pack_of_json(envelope.args)) payload = into.payload = std::move(*packed);
  }
  spec.payload = std::as_bytes(std::span(payload));
}

}  // namespace stem::federation
