// stem.h: clients, enqueued tasks, payloads.
#include <nlohmann/json.hpp>
#include <vector>

#include "c/handles.hpp"
#include "stem/json_payload.hpp"
#include "stem/version.hpp"

using stem::c::guarded;
using stem::c::missing;

namespace {

stem::Result<void> made_buffer(std::string bytes, stem_buffer** into) {
  *into = new stem_buffer{std::move(bytes)};
  return {};
}

}  // namespace

extern "C" {

const char* stem_version(void) { return stem::kVersion.data(); }  // a literal: ends with a zero byte

const char* stem_code_name(int32_t code) {
  static constexpr const char* kNames[] = {
      "ok",          "invalid-argument", "not-found",   "not-ready", "wrong-version", "wrong-signature",
      "wrong-owner", "truncated",        "corrupt",     "too-large", "full",          "no-memory",
      "duplicate",   "timeout",          "not-durable", "refused",   "system",        "cancelled"};
  static_assert(sizeof kNames / sizeof *kNames == STEM_STOPPED + 1);
  return code >= 0 && code <= STEM_STOPPED ? kNames[code] : "unknown";
}

const char* stem_state_name(int32_t state) {
  if (state < 0 || state > STEM_GONE) return "unknown";
  return stem::to_string(static_cast<stem::TaskState>(state)).data();
}

stem_bytes stem_buffer_bytes(const stem_buffer* buffer) {
  return buffer == nullptr ? stem_bytes{} : stem::c::bytes(buffer->bytes.data(), buffer->bytes.size());
}

void stem_buffer_free(stem_buffer* buffer) { delete buffer; }

int stem_json_to_payload(const char* json, size_t json_size, stem_buffer** payload, stem_error* error) {
  return guarded(error, [&]() -> stem::Result<void> {
    if (payload == nullptr) return missing("payload");
    *payload = nullptr;
    if (json == nullptr) return missing("json");
    auto bytes = stem::json_to_payload({json, json_size});
    if (!bytes) return bytes.error();
    return made_buffer(std::move(*bytes), payload);
  });
}

int stem_payload_to_json(const void* payload, size_t payload_size, stem_buffer** json, stem_error* error) {
  return guarded(error, [&]() -> stem::Result<void> {
    if (json == nullptr) return missing("json");
    *json = nullptr;
    if (payload == nullptr && payload_size > 0) return missing("payload");
    const auto value = stem::payload_as_json(stem::c::view(payload, payload_size));
    if (!value)
      return stem::Error{stem::Errc::kInvalidArgument, "these bytes are neither MessagePack nor a number nor text"};
    return made_buffer(value->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), json);
  });
}

int stem_client_open(const stem_client_options* options, stem_client** client, stem_error* error) {
  return guarded(error, [&]() -> stem::Result<void> {
    if (client == nullptr) return missing("client");
    *client = nullptr;
    const auto o = stem::c::read_options(options);
    if (!o) return o.error();
    if (o->reserved != 0) return stem::Error{stem::Errc::kInvalidArgument, "stem_client_options: reserved is not 0"};
    stem::ClientOptions open;
    open.directory = stem::c::text(o->directory);
    open.task_capacity = o->task_capacity;
    open.participant_capacity = o->participant_capacity;
    open.payload_capacity_bytes = o->payload_capacity_bytes;
    open.create = o->must_exist == 0;
    auto made = stem::Client::open(stem::c::text(o->name_space), open);
    if (!made) return made.error();
    *client = new stem_client{std::move(*made)};
    return {};
  });
}

void stem_client_close(stem_client* client) { delete client; }

int stem_destroy(const char* name_space, const char* directory, stem_error* error) {
  return guarded(error, [&]() -> stem::Result<void> {
    if (name_space == nullptr) return missing("the namespace");
    return stem::Client::destroy(name_space, std::string(stem::c::text(directory)));
  });
}

int stem_enqueue(stem_client* client, const char* task, const void* payload, size_t payload_size,
                 const stem_enqueue_options* options, stem_enqueued* enqueued, stem_error* error) {
  return guarded(error, [&]() -> stem::Result<void> {
    if (client == nullptr) return missing("client");
    if (payload == nullptr && payload_size > 0) return missing("payload");
    const auto call = stem::c::read_call(options);
    if (!call) return call.error();
    const stem::TaskInfo info(stem::c::text(task), call->task, /*has_result=*/true);
    auto done = client->client.port().enqueue(info, stem::c::view(payload, payload_size), false, &call->call);
    if (done.error) return std::move(*done.error);
    if (enqueued != nullptr) stem::c::write_enqueued(done.id, done.duplicate, *enqueued);
    return {};
  });
}

int stem_enqueue_many(stem_client* client, const char* task, const stem_bytes* payloads, size_t payload_count,
                      const stem_enqueue_options* options, stem_enqueued* enqueued, size_t* done, stem_error* error) {
  if (done != nullptr) *done = 0;
  return guarded(error, [&]() -> stem::Result<void> {
    if (client == nullptr) return missing("client");
    if (payloads == nullptr && payload_count > 0) return missing("payloads");
    if (enqueued == nullptr || done == nullptr) return missing(enqueued == nullptr ? "enqueued" : "done");
    const auto call = stem::c::read_call(options);
    if (!call) return call.error();
    const stem::TaskInfo info(stem::c::text(task), call->task, /*has_result=*/true);
    std::vector<stem::BytesView> views;
    views.reserve(payload_count);
    for (size_t i = 0; i < payload_count; ++i) {
      if (payloads[i].data == nullptr && payloads[i].size > 0) return missing("a payload");
      views.push_back(stem::c::view(payloads[i].data, payloads[i].size));
    }
    std::vector<stem::detail::Enqueued> made(payload_count);
    auto refused = client->client.port().enqueue_many(info, views, false, &call->call, made.data(), *done);
    for (size_t i = 0; i < *done; ++i) stem::c::write_enqueued(made[i].id, made[i].duplicate, enqueued[i]);
    if (refused) return std::move(*refused);
    return {};
  });
}

int stem_state(stem_client* client, const char* id, int32_t* state, stem_error* error) {
  return guarded(error, [&]() -> stem::Result<void> {
    if (client == nullptr || state == nullptr) return missing(client == nullptr ? "client" : "state");
    const auto read = stem::c::read_id(id);
    if (!read) return read.error();
    const auto found = client->client.port().state(*read);
    if (!found) return found.error();
    *state = static_cast<int32_t>(*found);
    return {};
  });
}

int stem_wait(stem_client* client, const char* id, int64_t timeout_ns, stem_result** result, stem_error* error) {
  return guarded(error, [&]() -> stem::Result<void> {
    if (result == nullptr) return missing("result");
    *result = nullptr;
    if (client == nullptr) return missing("client");
    const auto read = stem::c::read_id(id);
    if (!read) return read.error();
    auto finished = client->client.port().wait(*read, stem::Duration(timeout_ns));
    if (!finished) return finished.error();
    *result = new stem_result{std::move(*finished)};
    return {};
  });
}

int32_t stem_result_state(const stem_result* result) {
  return result == nullptr ? STEM_GONE : static_cast<int32_t>(result->finished.state);
}

stem_bytes stem_result_value(const stem_result* result) {
  if (result == nullptr) return {};
  return stem::c::bytes(result->finished.result.data(), result->finished.result.size());
}

const char* stem_result_error_kind(const stem_result* result) {
  return result == nullptr ? "" : result->finished.error_kind.c_str();
}

const char* stem_result_error_message(const stem_result* result) {
  return result == nullptr ? "" : result->finished.message.c_str();
}

void stem_result_free(stem_result* result) { delete result; }

int stem_progress(stem_client* client, const char* id, double* fraction, stem_buffer** data, stem_error* error) {
  return guarded(error, [&]() -> stem::Result<void> {
    if (client == nullptr || fraction == nullptr) return missing(client == nullptr ? "client" : "fraction");
    *fraction = -1;
    if (data != nullptr) *data = nullptr;
    const auto read = stem::c::read_id(id);
    if (!read) return read.error();
    auto said = client->client.port().progress(*read);
    if (!said) return said.error();
    if (!said->has_value()) return {};
    *fraction = (*said)->fraction;
    if (data != nullptr) return made_buffer(std::move((*said)->data), data);
    return {};
  });
}

int stem_revoke(stem_client* client, const char* id, int32_t terminate, int32_t* met, stem_error* error) {
  return guarded(error, [&]() -> stem::Result<void> {
    if (client == nullptr) return missing("client");
    const auto read = stem::c::read_id(id);
    if (!read) return read.error();
    const auto state = client->client.port().revoke(*read, terminate != 0);
    if (!state) return state.error();
    if (met != nullptr) *met = static_cast<int32_t>(*state);
    return {};
  });
}

}  // extern "C"

static_assert(static_cast<int>(stem::TaskState::kQueued) == STEM_QUEUED);
static_assert(static_cast<int>(stem::TaskState::kSucceeded) == STEM_SUCCEEDED);
static_assert(static_cast<int>(stem::TaskState::kDead) == STEM_DEAD);
static_assert(static_cast<int>(stem::TaskState::kGone) == STEM_GONE);
