#include "tools/stem/settings.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "base/units.hpp"
#include "tools/stem/nearest.hpp"
#include "tools/stem/terminal.hpp"

namespace stem::cli {
namespace {

using enum SettingKind;

const std::array<Setting, 23> kSettings{{
    {"namespace", "STEM_NAMESPACE", kName, "stem", "which segment, and the prefix of Redis keys"},
    {"broker_url", "STEM_BROKER_URL", kUrl, "shm://{namespace}",
     "where tasks are: shm://NAME; redis:// or rediss:// for the gateway"},
    {"result_backend_url", "STEM_RESULT_BACKEND_URL", kUrl, "shm://{namespace}",
     "where results are kept: shm://, redis://, postgres://"},
    {"schedule_store_url", "STEM_SCHEDULE_STORE_URL", kUrl, "shm://{namespace}",
     "where schedules are kept: shm://, redis://, postgres://, file:"},
    {"default_queue", "STEM_DEFAULT_QUEUE", kName, "default", "queue of a task that names none"},
    {"default_max_retries", "STEM_DEFAULT_MAX_RETRIES", kWholeNumber, "3",
     "attempts after the first, for a task that says nothing"},
    {"routing_config", "STEM_ROUTING_CONFIG", kPath, "", "file with routing rules"},
    {"worker.queues", "STEM_WORKER_QUEUES", kNames, "{default_queue}", "queues that a worker serves"},
    {"worker.prefetch_multiplier", "STEM_PREFETCH_MULTIPLIER", kWholeNumber, "2",
     "tasks a worker process may hold, for each of its slots"},
    {"worker.heartbeat_interval", "STEM_HEARTBEAT_INTERVAL", kDuration, "10s",
     "how often a gateway says in Redis that it and its workers live"},
    {"signing.algorithm",
     "STEM_SIGNING_ALGORITHM",
     kChoice,
     "",
     "how envelopes are signed",
     {"hmac-sha256", "ed25519"}},
    {"signing.keys", "STEM_SIGNING_KEYS", kKeys, "", "secrets of hmac-sha256, id:base64,..."},
    {"signing.active_key", "STEM_SIGNING_ACTIVE_KEY", kText, "", "id of the key that signs"},
    {"signing.public_keys", "STEM_SIGNING_PUBLIC_KEYS", kKeys, "", "verifying keys of ed25519, id:base64,..."},
    {"signing.private_keys", "STEM_SIGNING_PRIVATE_KEYS", kKeys, "", "signing keys of ed25519, id:base64,..."},
    {"tls.ca_cert", "STEM_TLS_CA_CERT", kPath, "", "certificate authority for rediss://"},
    {"tls.client_cert", "STEM_TLS_CLIENT_CERT", kPath, "", "client certificate for rediss://"},
    {"tls.client_key", "STEM_TLS_CLIENT_KEY", kPath, "", "key of the client certificate"},
    {"log.level",
     "STEM_LOG",
     kChoice,
     "info",
     "least level that is logged",
     {"trace", "debug", "info", "warn", "error", "off"}},
    {"log.format", "STEM_LOG_FORMAT", kChoice, "pretty", "form of log lines", {"pretty", "json"}},
    // What stands below has no name of its own in the environment.
    {"worker.concurrency", "", kWholeNumber, "", "worker processes; not set means one a core"},
    {"worker.async_slots", "", kWholeNumber, "256", "coroutine handlers under way at once in a worker process"},
    {"worker.pin", "", kText, "auto", "cores of the worker processes: auto, none or a list as 0-3,8"},
}};

Error refusal(std::string message) { return {Errc::kInvalidArgument, std::move(message)}; }

Result<void> check_names(std::string_view text) {
  while (true) {
    const std::size_t comma = text.find(',');
    const auto checked = check_name(text.substr(0, comma));
    if (!checked.ok() || comma == std::string_view::npos) return checked;
    text.remove_prefix(comma + 1);
  }
}

Result<void> check_choice(const Setting& setting, std::string_view text) {
  if (std::find(setting.choices.begin(), setting.choices.end(), text) != setting.choices.end()) {
    return {};
  }
  const std::vector<std::string> candidates(setting.choices.begin(), setting.choices.end());
  return refusal(
      fmt::format("'{}' is none of {}{}", text, fmt::join(setting.choices, ", "), did_you_mean(text, candidates)));
}

Result<void> check_url(std::string_view text) {
  const std::size_t colon = text.find(':');
  const bool good = colon != std::string_view::npos && colon > 0 &&
                    (text.substr(colon).starts_with("://") || text.starts_with("file:"));
  if (good) return {};
  // Never quoted whole: it may hold a password.
  return refusal("it is not a URL; write SCHEME://..., such as shm://stem or redis://host:6379");
}

// redis://user:secret@host -> redis://user:***@host
std::string without_password(std::string_view url) {
  const std::size_t scheme = url.find("://");
  const std::size_t at = url.rfind('@');
  if (scheme == std::string_view::npos || at == std::string_view::npos || at < scheme) {
    return std::string(url);
  }
  const std::string_view user = url.substr(scheme + 3, at - scheme - 3);
  const std::size_t colon = user.find(':');
  if (colon == std::string_view::npos) return std::string(url);
  return fmt::format("{}{}:***{}", url.substr(0, scheme + 3), user.substr(0, colon), url.substr(at));
}

std::string only_key_ids(std::string_view keys) {
  std::string out;
  while (!keys.empty()) {
    const std::size_t comma = keys.find(',');
    const std::string_view key = keys.substr(0, comma);
    const std::size_t colon = key.find(':');
    const bool has_id = colon != std::string_view::npos;
    out += fmt::format("{}{}***", out.empty() ? "" : ",", has_id ? key.substr(0, colon + 1) : "");
    keys.remove_prefix(comma == std::string_view::npos ? keys.size() : comma + 1);
  }
  return out;
}

}  // namespace

std::span<const Setting> settings() { return kSettings; }

const Setting* find_setting(std::string_view key) {
  const auto it =
      std::find_if(kSettings.begin(), kSettings.end(), [&](const Setting& setting) { return setting.key == key; });
  return it == kSettings.end() ? nullptr : &*it;
}

Result<void> check_name(std::string_view text) {
  constexpr std::size_t kLongest = 64;
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  };
  if (!text.empty() && text.size() <= kLongest && text.front() != '.' && text.front() != '-' &&
      std::all_of(text.begin(), text.end(), allowed)) {
    return {};
  }
  return refusal(
      fmt::format("'{}' is not a name; a name is 1 to {} letters, digits, '.', '_' or '-', and begins "
                  "with none of '.' and '-'",
                  shortened(text, kLongest), kLongest));
}

Result<void> check_setting(const Setting& setting, std::string_view text) {
  switch (setting.kind) {
    case kName: return check_name(text);
    case kNames: return check_names(text);
    case kChoice: return check_choice(setting, text);
    case kUrl: return check_url(text);
    case kWholeNumber:
      if (const auto parsed = base::parse_count(text); !parsed.ok()) return parsed.error();
      return {};
    case kDuration:
      if (const auto parsed = base::parse_duration_ns(text); !parsed.ok()) return parsed.error();
      return {};
    case kText:
    case kPath:
    case kKeys: return {};
  }
  return {};
}

std::string shown_value(const Setting& setting, std::string_view text) {
  if (setting.kind == kUrl) return without_password(text);
  if (setting.kind == kKeys) return only_key_ids(text);
  return std::string(text);
}

}  // namespace stem::cli
