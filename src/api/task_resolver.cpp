#include "api/task_resolver.hpp"

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "base/units.hpp"
#include "shm/names.hpp"

namespace stem::api {
namespace {

constexpr int kMostRetries = std::numeric_limits<std::uint16_t>::max();

Error bad(const TaskInfo& task, const std::string& what) {
  return {Errc::kInvalidArgument, "task \"" + std::string(task.name) + "\": " + what};
}

Result<engine::Rate> engine_rate(std::string_view text) {
  const Result<base::Rate> rate = base::parse_rate(text);
  if (!rate) return rate.error();
  if (rate->count > std::numeric_limits<std::uint32_t>::max())
    return Error{Errc::kInvalidArgument, "rate \"" + std::string(text) + "\" is too large"};
  return engine::Rate{static_cast<std::uint32_t>(rate->count),
                      static_cast<std::uint32_t>(rate->period_ns / engine::kSecondNs)};
}

Result<void> check_durations(const TaskInfo& task) {
  const TaskOptions& o = task.options;
  const struct {
    const char* name;
    Duration value;
  } all[] = {{"soft_time_limit", o.soft_time_limit},
             {"hard_time_limit", o.hard_time_limit},
             {"unique_for", o.unique_for},
             {"expires", o.expires},
             {"retry.base", o.retry.base},
             {"retry.max", o.retry.max},
             {"result_ttl", o.result_ttl.value_or(Duration{})}};
  for (const auto& one : all)
    if (one.value < Duration{}) return bad(task, std::string(one.name) + " is negative");
  if (o.visibility_timeout <= Duration{}) return bad(task, "visibility_timeout must be above zero");
  return {};
}

bool needs_extras(const TaskOptions& o) {
  const bool default_ttl =
      !o.result_ttl || *o.result_ttl == Duration{} || o.result_ttl->count() == engine::kDefaultResultTtlNs;
  const Retry plain_retry;
  const bool default_retry = o.retry.kind == plain_retry.kind && o.retry.base == plain_retry.base &&
                             o.retry.max == plain_retry.max && o.retry_for.empty() && o.no_retry_for.empty();
  return !default_ttl || !default_retry || o.visibility_timeout != kDefaultVisibilityTimeout ||
         o.soft_time_limit != Duration{} || o.hard_time_limit != Duration{} || !o.rate_limit.empty() ||
         !o.group_rate_limit.empty() || o.concurrency_limit > 0 || o.rate_limiter_failure_mode != LimitFailure::kOpen ||
         o.unique || o.expires != Duration{};
}

engine::RetryPolicy engine_retry(const Retry& retry) {
  engine::RetryPolicy policy;
  switch (retry.kind) {
    case RetryKind::kExponential: policy.kind = engine::RetryKind::kExponential; break;
    case RetryKind::kLinear: policy.kind = engine::RetryKind::kLinear; break;
    case RetryKind::kConstant: policy.kind = engine::RetryKind::kConstant; break;
    case RetryKind::kUser: policy.kind = engine::RetryKind::kUser; break;
  }
  policy.base_ns = retry.base.count();
  policy.max_ns = retry.max.count();
  return policy;
}

// Options that do not depend on the segment.
void fill_options(const TaskInfo& task, ResolvedTask& r) {
  const TaskOptions& o = task.options;
  r.key = task.key;
  r.task_name = task.name;
  r.queue_name = o.queue.empty() ? default_queue() : std::string(o.queue);
  r.concurrency_key = o.concurrency_key;
  r.group_rate_key = o.group_rate_key;
  r.group_rate_header = o.group_rate_key_header;
  r.retry_for = o.retry_for;
  r.no_retry_for = o.no_retry_for;
  r.spec.priority = static_cast<std::uint8_t>(std::clamp<int>(o.priority, 0, shm::kPriorities - 1));
  r.spec.max_retries =
      static_cast<std::uint16_t>(std::min(o.max_retries.value_or(default_max_retries()), kMostRetries));
  r.spec.keep_result = o.result_ttl ? *o.result_ttl > Duration{} : task.typed_result;
  r.spec.auto_renew = o.auto_renew;
  engine::TaskExtras& e = r.extras;
  e.visibility_ns = o.visibility_timeout.count();
  e.soft_limit_ns = o.soft_time_limit.count();
  e.hard_limit_ns = o.hard_time_limit.count();
  e.result_ttl_ns = o.result_ttl ? o.result_ttl->count() : engine::kDefaultResultTtlNs;
  e.retry = engine_retry(o.retry);
  e.concurrency_limit = static_cast<std::uint32_t>(std::max(o.concurrency_limit, 0));
  e.limits_fail_closed = o.rate_limiter_failure_mode == LimitFailure::kClosed;
  e.retry_for = r.retry_for;
  e.no_retry_for = r.no_retry_for;
  r.unique = o.unique;
  r.unique_for_ns = o.unique_for.count();
  r.expires_after_ns = o.expires.count();
  r.plain = !needs_extras(o);
}

}  // namespace

std::string default_queue() {
  const char* name = std::getenv("STEM_DEFAULT_QUEUE");
  return name != nullptr && *name != '\0' ? name : "default";
}

int default_max_retries() {
  const char* text = std::getenv("STEM_DEFAULT_MAX_RETRIES");
  if (text == nullptr) return engine::kDefaultMaxRetries;
  const Result<std::uint64_t> count = base::parse_count(text);
  return count && *count <= kMostRetries ? static_cast<int>(*count) : engine::kDefaultMaxRetries;
}

Result<void> check_task(const TaskInfo& task) {
  const TaskOptions& o = task.options;
  if (task.name.empty() || task.name.size() >= shm::kNameBytes)
    return bad(task, "the name must have 1 to " + std::to_string(shm::kNameBytes - 1) + " bytes");
  if (std::any_of(task.name.begin(), task.name.end(), [](unsigned char c) { return c <= 0x20 || c == 0x7f; }))
    return bad(task, "the name must have no spaces or control characters");
  if (auto good = check_durations(task); !good) return good;
  if (o.max_retries.value_or(0) < 0) return bad(task, "max_retries is negative");
  if (o.concurrency_limit < 0 || o.concurrency_limit > static_cast<int>(shm::kLimiterHolders))
    return bad(task, "concurrency_limit must be 1 to " + std::to_string(shm::kLimiterHolders) + ", or 0 for none");
  if (o.concurrency_limit == 0 && !o.concurrency_key.empty())
    return bad(task, "concurrency_key without concurrency_limit");
  if (!o.rate_limit.empty())
    if (auto rate = engine_rate(o.rate_limit); !rate) return bad(task, "rate_limit: " + rate.error().message);
  if (!o.group_rate_limit.empty())
    if (auto rate = engine_rate(o.group_rate_limit); !rate)
      return bad(task, "group_rate_limit: " + rate.error().message);
  if (o.group_rate_limit.empty() != o.group_rate_key.empty())
    return bad(task, "group_rate_limit and group_rate_key belong together");
  return {};
}

Result<const ResolvedTask*> TaskResolver::resolve(const TaskInfo& task) {
  if (const ResolvedTask* r = recent(task.key)) return r;
  auto found = all_.find(task.key);
  if (found == all_.end()) {
    if (auto good = check_task(task); !good) return good.error();
    auto r = std::make_unique<ResolvedTask>();
    fill_options(task, *r);
    if (!task.options.rate_limit.empty()) r->extras.rate = *engine_rate(task.options.rate_limit);
    if (!task.options.group_rate_limit.empty()) r->extras.group_rate = *engine_rate(task.options.group_rate_limit);
    auto queue_id = queue(r->queue_name);
    if (!queue_id) return queue_id.error();
    auto task_id = shm::intern_task(segment_, task.name);
    if (!task_id) return task_id.error();
    r->spec.queue = *queue_id;
    r->spec.task = *task_id;
    if (all_.size() >= kMost) {  // descriptors made at run time, each another: start over
      std::fill(std::begin(recent_), std::end(recent_), nullptr);
      previous_ = std::move(all_);
      all_.clear();
    }
    found = all_.emplace(task.key, std::move(r)).first;
  }
  return recent_[task.key % kRecent] = found->second.get();
}

Result<std::uint32_t> TaskResolver::queue(const std::string& name) {
  if (const auto found = queues_.find(name); found != queues_.end()) return found->second;
  auto id = shm::intern_queue(segment_, name);
  if (!id) return id.error();
  if (queues_.size() >= kMost) queues_.clear();
  queues_.emplace(name, *id);
  return *id;
}

}  // namespace stem::api
