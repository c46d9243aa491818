#include "c/handles.hpp"

#include <algorithm>

namespace stem::c {
namespace {

int code_of(Errc code) noexcept {
  switch (code) {
    case Errc::kInvalidArgument: return STEM_INVALID_ARGUMENT;
    case Errc::kNotFound: return STEM_NOT_FOUND;
    case Errc::kNotReady: return STEM_NOT_READY;
    case Errc::kWrongVersion: return STEM_WRONG_VERSION;
    case Errc::kWrongSignature: return STEM_WRONG_SIGNATURE;
    case Errc::kWrongOwner: return STEM_WRONG_OWNER;
    case Errc::kTruncated: return STEM_TRUNCATED;
    case Errc::kCorrupt: return STEM_CORRUPT;
    case Errc::kTooLarge: return STEM_TOO_LARGE;
    case Errc::kFull: return STEM_FULL;
    case Errc::kNoMemory: return STEM_NO_MEMORY;
    case Errc::kDuplicate: return STEM_DUPLICATE;
    case Errc::kTimeout: return STEM_TIMEOUT;
    case Errc::kNotDurable: return STEM_NOT_DURABLE;
    case Errc::kRefused: return STEM_REFUSED;
    case Errc::kCancelled: return STEM_STOPPED;
    case Errc::kSystem: break;
  }
  return STEM_SYSTEM;
}

// Not in the middle of a UTF-8 character.
std::size_t cut(std::string_view text, std::size_t most) noexcept {
  if (text.size() <= most) return text.size();
  while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xc0) == 0x80) --most;
  return most;
}

Result<std::vector<Link>> read_links(const stem_link* links, std::size_t count) {
  std::vector<Link> read;
  if (links == nullptr && count > 0) return missing("links");
  for (std::size_t i = 0; i < count; ++i) {
    const stem_link& one = links[i];
    if (one.task == nullptr) return missing("a link's task");
    if (one.payload.data == nullptr && one.payload.size > 0) return missing("a link's payload");
    if (one.reserved != 0) return Error{Errc::kInvalidArgument, "a link's reserved is not 0"};
    if (one.max_retries < -1) return Error{Errc::kInvalidArgument, "a link's max_retries is below -1"};
    Link link;
    link.task = one.task;
    link.queue = text(one.queue);
    if (one.payload.size > 0) link.payload.assign(static_cast<const char*>(one.payload.data), one.payload.size);
    link.priority = one.priority;
    if (one.max_retries >= 0) link.max_retries = one.max_retries;
    link.keep_result = one.keep_result != 0;
    read.push_back(std::move(link));
  }
  return read;
}

Result<Retry> read_retry(const stem_enqueue_options& o) {
  Retry retry;
  switch (o.retry) {
    case STEM_RETRY_EXPONENTIAL: retry.kind = RetryKind::kExponential; break;
    case STEM_RETRY_LINEAR: retry.kind = RetryKind::kLinear; break;
    case STEM_RETRY_CONSTANT: retry.kind = RetryKind::kConstant; break;
    default: return Error{Errc::kInvalidArgument, "retry is none of enum stem_retry"};
  }
  if (o.retry_base_ns != 0) retry.base = Duration(o.retry_base_ns);
  if (o.retry_max_ns != 0) retry.max = Duration(o.retry_max_ns);
  return retry;
}

Result<TaskOptions> read_task_options(const stem_enqueue_options& o) {
  TaskOptions task;
  const auto retry = read_retry(o);
  if (!retry) return retry.error();
  task.retry = *retry;
  task.priority = o.priority;
  if (o.visibility_timeout_ns != 0) task.visibility_timeout = Duration(o.visibility_timeout_ns);
  task.auto_renew = o.no_auto_renew == 0;
  task.soft_time_limit = Duration(o.soft_time_limit_ns);
  task.hard_time_limit = Duration(o.hard_time_limit_ns);
  task.rate_limit = text(o.rate_limit);
  task.group_rate_limit = text(o.group_rate_limit);
  task.group_rate_key = text(o.group_rate_key);
  if (o.group_rate_key_header != nullptr) task.group_rate_key_header = o.group_rate_key_header;
  task.concurrency_limit = o.concurrency_limit;
  task.rate_limiter_failure_mode = o.limits_fail_closed != 0 ? LimitFailure::kClosed : LimitFailure::kOpen;
  task.retry_for = text(o.retry_for);
  task.no_retry_for = text(o.no_retry_for);
  return task;
}

}  // namespace

int report(const Error& error, stem_error* into) noexcept {
  const int code = code_of(error.code);
  if (into == nullptr) return code;
  // Without memory there is none for a sentence either.
  const std::string_view said = !error.message.empty()   ? std::string_view(error.message)
                                : code == STEM_NO_MEMORY ? "this process has no memory left"
                                                         : "an unknown exception";
  const std::size_t size = cut(said, sizeof into->message - 1);
  into->code = code;
  std::memcpy(into->message, said.data(), size);
  into->message[size] = '\0';
  return code;
}

int succeeded(stem_error* into) noexcept {
  if (into != nullptr) {
    into->code = STEM_OK;
    into->message[0] = '\0';
  }
  return STEM_OK;
}

Error missing(const char* what) { return {Errc::kInvalidArgument, std::string(what) + " is null"}; }

Result<void> check_given(std::uint32_t given, std::uint32_t known, const char* options) {
  if ((given & ~known) == 0) return {};
  return Error{Errc::kInvalidArgument,
               "given has bits that this version of " + std::string(options) + " does not know"};
}

Result<Call> read_call(const stem_enqueue_options* given) {
  const auto read = read_options(given);
  if (!read) return read.error();
  const stem_enqueue_options& o = *read;
  constexpr std::uint32_t kKnown = STEM_GIVEN_MAX_RETRIES | STEM_GIVEN_RESULT_TTL | STEM_GIVEN_FULL_TIMEOUT;
  if (const auto good = check_given(o.given, kKnown, "stem_enqueue_options"); !good) return good.error();
  auto task = read_task_options(o);
  if (!task) return task.error();
  Call call{*task, {}};
  EnqueueOptions& c = call.call;
  if ((o.given & STEM_GIVEN_MAX_RETRIES) != 0) c.max_retries = o.max_retries;
  if ((o.given & STEM_GIVEN_RESULT_TTL) != 0) c.result_ttl = Duration(o.result_ttl_ns);
  if ((o.given & STEM_GIVEN_FULL_TIMEOUT) != 0) c.full_timeout = Duration(o.full_timeout_ns);
  if (o.unique != 0) c.unique = true;
  c.unique_key = text(o.unique_key);
  if (o.unique_for_ns != 0) c.unique_for = Duration(o.unique_for_ns);
  c.queue = text(o.queue);
  c.delay = Duration(o.delay_ns);
  if (o.eta_ns < 0) return Error{Errc::kInvalidArgument, "eta_ns is negative"};
  if (o.eta_ns > 0)
    c.eta = std::chrono::system_clock::time_point(
        std::chrono::duration_cast<std::chrono::system_clock::duration>(Duration(o.eta_ns)));
  if (o.expires_ns != 0) c.expires = Duration(o.expires_ns);
  if (o.headers == nullptr && o.header_count > 0) return missing("headers");
  for (std::size_t i = 0; i < o.header_count; ++i) {
    if (o.headers[i].name == nullptr || o.headers[i].value == nullptr) return missing("a header");
    c.headers.insert_or_assign(o.headers[i].name, o.headers[i].value);
  }
  c.meta = text(o.meta);
  c.idempotency_key = text(o.idempotency_key);
  c.affinity_key = text(o.affinity_key);
  c.concurrency_key = text(o.concurrency_key);
  auto links = read_links(o.links, o.link_count);
  if (!links) return links.error();
  c.link = std::move(*links);
  auto error_links = read_links(o.error_links, o.error_link_count);
  if (!error_links) return error_links.error();
  c.link_error = std::move(*error_links);
  return call;
}

Result<TaskId> read_id(const char* id) {
  if (id == nullptr) return missing("the id");
  TaskId read;
  if (!engine::parse_task_id(id, read))
    return Error{Errc::kInvalidArgument, "\"" + std::string(id).substr(0, 80) + "\" is not a task id"};
  return read;
}

void write_enqueued(TaskId id, bool duplicate, stem_enqueued& into) {
  into = {};
  const std::string written = to_string(id);
  std::memcpy(into.id.text, written.data(), std::min(written.size(), sizeof into.id.text - 1));
  into.duplicate = duplicate ? 1 : 0;
}

}  // namespace stem::c
