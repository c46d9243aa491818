#include "tools/stem/schedule/scheduled_task.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/units.hpp"
#include "stem/json_payload.hpp"
#include "tools/stem/nearest.hpp"

namespace stem::cli {

using nlohmann::json;

namespace {

Error refusal(std::string message) { return {Errc::kInvalidArgument, std::move(message)}; }

std::string shown(const json& value) {
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  return text.size() > 60 ? text.substr(0, 57) + "..." : text;
}

Result<std::string> text_of(const json& value) {
  if (!value.is_string() || value.get<std::string>().empty())
    return refusal(fmt::format("wants a text, not {}", shown(value)));
  return value.get<std::string>();
}

Result<bool> truth_of(const json& value) {
  if (!value.is_boolean()) return refusal(fmt::format("wants true or false, not {}", shown(value)));
  return value.get<bool>();
}

Result<int> number_of(const json& value, int most) {
  if (!value.is_number_unsigned() || value > most)
    return refusal(fmt::format("wants a whole number from 0 to {}, not {}", most, shown(value)));
  return value.get<int>();
}

// Milliseconds, or "5s".
Result<Duration> duration_of(const json& value) {
  if (value.is_number_unsigned() && value <= INT64_MAX / 1'000'000)
    return Duration(value.get<std::int64_t>() * 1'000'000);
  if (!value.is_string()) return refusal(fmt::format("wants milliseconds or \"5s\", not {}", shown(value)));
  const auto parsed = base::parse_duration_ns(value.get<std::string>());
  if (!parsed.ok()) return parsed.error();
  return Duration(*parsed);
}

// "io,timeout" or a list.
Result<std::string> names_of(const json& value) {
  if (value.is_string()) return value.get<std::string>();
  const bool list =
      value.is_array() && std::all_of(value.begin(), value.end(), [](const json& one) { return one.is_string(); });
  if (!list) return refusal(fmt::format("wants a list of texts, not {}", shown(value)));
  return fmt::format("{}", fmt::join(value.get<std::vector<std::string>>(), ","));
}

template <class T, class U>
Result<void> set(T& field, Result<U> parsed) {
  if (!parsed.ok()) return parsed.error();
  field = std::move(*parsed);
  return {};
}

template <class U>
Result<void> set_view(std::string& kept, std::string_view& view, Result<U> parsed) {
  if (!parsed.ok()) return parsed.error();
  kept = std::move(*parsed);
  view = kept;
  return {};
}

Result<void> set_failure_mode(LimitFailure& mode, const json& value) {
  if (value != "failOpen" && value != "failClosed")
    return refusal(fmt::format("is {}; allowed: failOpen, failClosed", shown(value)));
  mode = value == "failClosed" ? LimitFailure::kClosed : LimitFailure::kOpen;
  return {};
}

Result<void> set_retry(Retry& retry, const json& value) {
  if (!value.is_object()) return refusal(fmt::format("wants an object with kind, baseMs, maxMs, not {}", shown(value)));
  for (const auto& [key, v] : value.items()) {
    Result<void> good;
    if (key == "kind") {
      if (v == "exponential") {
        retry.kind = RetryKind::kExponential;
      } else if (v == "linear") {
        retry.kind = RetryKind::kLinear;
      } else if (v == "constant") {
        retry.kind = RetryKind::kConstant;
      } else {
        return refusal(fmt::format("\"kind\" is {}; allowed: exponential, linear, constant", shown(v)));
      }
    } else if (key == "baseMs") {
      good = set(retry.base, duration_of(v));
    } else if (key == "maxMs") {
      good = set(retry.max, duration_of(v));
    } else {
      return refusal(fmt::format("unknown key \"{}\"{}", key, did_you_mean(key, {"kind", "baseMs", "maxMs"})));
    }
    if (!good.ok()) return good.error().within(fmt::format("\"{}\"", key));
  }
  return {};
}

Result<void> set_headers(Headers& headers, const json& value) {
  if (!value.is_object()) return refusal(fmt::format("wants an object of texts, not {}", shown(value)));
  for (const auto& [key, v] : value.items()) {
    if (!v.is_string()) return refusal(fmt::format("the value of \"{}\" is not a text", key));
    headers[key] = v.get<std::string>();
  }
  return {};
}

}  // namespace

struct TaskOptionKey {
  const char* name;
  Result<void> (*set)(ScheduledTask& t, const json& v);

  static const std::vector<TaskOptionKey>& all() {
    using T = ScheduledTask;
    using V = const json;
    static const std::vector<TaskOptionKey> table{
        {"priority", [](T& t, V& v) { return cli::set(t.task_.priority, number_of(v, 9)); }},
        {"maxRetries", [](T& t, V& v) { return cli::set(t.task_.max_retries, number_of(v, 65535)); }},
        {"visibilityTimeoutMs", [](T& t, V& v) { return cli::set(t.task_.visibility_timeout, duration_of(v)); }},
        {"autoRenew", [](T& t, V& v) { return cli::set(t.task_.auto_renew, truth_of(v)); }},
        {"softTimeLimitMs", [](T& t, V& v) { return cli::set(t.task_.soft_time_limit, duration_of(v)); }},
        {"hardTimeLimitMs", [](T& t, V& v) { return cli::set(t.task_.hard_time_limit, duration_of(v)); }},
        {"rateLimit", [](T& t, V& v) { return set_view(t.rate_, t.task_.rate_limit, text_of(v)); }},
        {"groupRateLimit", [](T& t, V& v) { return set_view(t.group_rate_, t.task_.group_rate_limit, text_of(v)); }},
        {"groupRateKey", [](T& t, V& v) { return set_view(t.group_rate_key_, t.task_.group_rate_key, text_of(v)); }},
        {"groupRateKeyHeader",
         [](T& t, V& v) { return set_view(t.group_rate_header_, t.task_.group_rate_key_header, text_of(v)); }},
        {"concurrencyLimit", [](T& t, V& v) { return cli::set(t.task_.concurrency_limit, number_of(v, 65535)); }},
        {"concurrencyKey",
         [](T& t, V& v) { return set_view(t.concurrency_key_, t.task_.concurrency_key, text_of(v)); }},
        {"rateLimiterFailureMode", [](T& t, V& v) { return set_failure_mode(t.task_.rate_limiter_failure_mode, v); }},
        {"unique", [](T& t, V& v) { return cli::set(t.call_.unique, truth_of(v)); }},
        {"uniqueForMs", [](T& t, V& v) { return cli::set(t.call_.unique_for, duration_of(v)); }},
        {"uniqueKey", [](T& t, V& v) { return cli::set(t.call_.unique_key, text_of(v)); }},
        {"retryPolicy", [](T& t, V& v) { return set_retry(t.task_.retry, v); }},
        {"retryFor", [](T& t, V& v) { return set_view(t.retry_for_, t.task_.retry_for, names_of(v)); }},
        {"noRetryFor", [](T& t, V& v) { return set_view(t.no_retry_for_, t.task_.no_retry_for, names_of(v)); }},
        {"expires", [](T& t, V& v) { return cli::set(t.task_.expires, duration_of(v)); }},
        {"resultTtl", [](T& t, V& v) { return cli::set(t.task_.result_ttl, duration_of(v)); }},
        {"headers", [](T& t, V& v) { return set_headers(t.call_.headers, v); }},
        {"idempotencyKey", [](T& t, V& v) { return cli::set(t.call_.idempotency_key, text_of(v)); }},
        {"affinityKey", [](T& t, V& v) { return cli::set(t.call_.affinity_key, text_of(v)); }},
    };
    return table;
  }
};

const std::vector<std::string>& task_option_keys() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const TaskOptionKey& key : TaskOptionKey::all()) all.emplace_back(key.name);
    return all;
  }();
  return names;
}

Result<std::unique_ptr<ScheduledTask>> ScheduledTask::of(const beat::Entry& entry) {
  std::unique_ptr<ScheduledTask> t(new ScheduledTask);
  t->name_ = entry.task;
  t->queue_ = entry.queue;
  t->task_.queue = t->queue_;
  for (const auto& [name, value] : entry.options.items()) {
    const auto& keys = TaskOptionKey::all();
    const std::string& text = name;
    const auto key = std::find_if(keys.begin(), keys.end(), [&](const TaskOptionKey& k) { return text == k.name; });
    if (key == keys.end())
      return refusal(fmt::format("unknown key \"{}\"{}", name, did_you_mean(name, task_option_keys())));
    if (auto good = key->set(*t, value); !good.ok()) return good.error().within(fmt::format("\"{}\"", name));
  }
  if (!entry.args.is_null()) {
    auto payload = json_to_payload(entry.args.dump());
    if (!payload.ok()) return payload.error().within("\"args\"");
    t->payload_ = std::move(*payload);
  }
  json meta = entry.meta;
  for (const auto& [key, value] : meta.items())
    if (key.starts_with("stem.")) return refusal(fmt::format("\"meta\": the key \"{}\" is the system's", key));
  if (!entry.kwargs.empty()) meta["kwargs"] = entry.kwargs;
  if (!meta.empty()) t->call_.meta = meta.dump();
  if (auto good = api::check_task(t->info()); !good.ok()) return good.error();
  return t;
}

Result<engine::TaskSpec> ScheduledTask::prepare(const beat::Tick& tick, shm::Segment& segment, const beat::Now& now) {
  resolver_ = std::make_unique<api::TaskResolver>(segment);
  const auto resolved = resolver_->resolve(info());
  if (!resolved.ok()) return resolved.error();
  EnqueueOptions call = call_;
  const std::string planned = beat::write_utc(tick.planned_ns);
  call.headers["scheduled-from"] = "beat";
  call.headers["schedule-id"] = tick.entry.id;
  call.headers["scheduled-for"] = planned;
  call.headers["beat-token"] = std::to_string(tick.token);
  if (call.idempotency_key.empty()) call.idempotency_key = tick.entry.id + "@" + planned;
  prepared_ = std::make_unique<api::PreparedCall>();
  const auto bytes = std::as_bytes(std::span(payload_.data(), payload_.size()));
  if (auto good =
          api::prepare_call(*resolver_, **resolved, call, bytes, {now.monotonic_ns, now.realtime_ns}, *prepared_);
      !good.ok())
    return good.error();
  return prepared_->spec;
}

Result<engine::TaskSpec> ScheduledTaskMaker::make(const beat::Tick& tick, const beat::Now& now) {
  auto task = ScheduledTask::of(tick.entry);
  if (!task.ok()) return task.error();
  task_ = std::move(*task);
  return task_->prepare(tick, segment_, now);
}

}  // namespace stem::cli
