// What people and their programs write: arguments, flags, schedules, durations.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/units.hpp"
#include "beat/entry.hpp"
#include "federation/iso_time.hpp"
#include "federation/payload_text.hpp"
#include "federation/plain_value.hpp"
#include "federation/redis_url.hpp"
#include "input.hpp"
#include "stem/json.hpp"
#include "stem/json_payload.hpp"
#include "tools/stem/command_table.hpp"
#include "tools/stem/dispatch.hpp"
#include "tools/stem/schedule/schedule_file.hpp"
#include "tools/stem/when.hpp"
#include "worker/exec_handler.hpp"
#include "worker/pinning.hpp"

namespace stem::fuzz {
namespace {

template <class T>
void has_a_reason(const Result<T>& answer) {
  if (!answer.ok()) expect(!answer.error().message.empty(), "refused without a reason");
}

void follow(const beat::Spec& spec, const beat::Zone& zone) {
  std::int64_t now = 1'767'225'600'000'000'000;
  for (int look = 0; look < 3; ++look) {
    const auto next = spec.next(now, now - 1, zone);
    if (!next) return;
    expect(*next > now, "a schedule that stands still");
    now = *next;
  }
}

}  // namespace

void run_payload(Bytes bytes) {
  const std::string_view text = text_of(bytes);
  const auto payload = std::as_bytes(bytes);
  (void)payload_to_json(payload).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  (void)Codec<std::vector<std::string>>::decode(payload);
  const Result<std::string> packed = json_to_payload(text);
  has_a_reason(packed);
  if (packed.ok()) (void)payload_to_json(std::as_bytes(std::span(*packed)));
  if (const auto json = federation::json_of_message_pack(text)) {
    const auto back = federation::message_pack_of_json(*json);
    expect(back && *back == text, "a payload that comes back as another");
  }
  std::string quick;
  if (const auto kind = federation::plain_json(text, quick); kind != federation::PlainValue::kOther) {
    const auto slow = nlohmann::ordered_json::from_msgpack(text.begin(), text.end(), true, false);
    const bool same =
        kind == federation::PlainValue::kPlain ? !slow.is_discarded() && slow.dump() == quick : slow.is_discarded();
    expect(same, "the quick way says something else than the library");
  }
  (void)federation::message_pack_of_json(text);
}

void run_command_line(Bytes bytes) {
  Input input(bytes);
  const auto& table = cli::command_table();
  const cli::Command& command = table[input.byte() % table.size()];
  std::vector<std::string> words;
  const std::string_view text = text_of(input.rest());
  for (std::size_t at = 0; at <= text.size() && words.size() < 64;) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    words.emplace_back(text.substr(at, end - at));
    at = end + 1;
  }
  cli::Assembled assembled;
  cli::assemble(command, assembled);
  has_a_reason(assembled.line.parse(words));
}

void run_schedule(Bytes bytes) {
  const std::string text(text_of(bytes));
  const beat::Zone utc;
  const auto spec = beat::Spec::parse_text(text);
  has_a_reason(spec);
  if (spec.ok()) follow(*spec, utc);
  if (beat::json_depth(text) <= beat::kDeepestJson) {
    const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!json.is_discarded()) {
      const auto of_json = beat::Spec::parse(json, utc);
      has_a_reason(of_json);
      if (of_json.ok()) follow(*of_json, utc);
      has_a_reason(beat::Entry::parse(json));
    }
  }
  const cli::ScheduleFile file = cli::parse_schedule_file(text, "f");
  for (const std::string& error : file.errors) expect(!error.empty(), "refused without a reason");
  for (const beat::Entry& entry : file.entries) follow(entry.spec, entry.zone);
}

void run_text(Bytes bytes) {
  const std::string_view text = text_of(bytes);
  has_a_reason(base::parse_duration_ns(text));
  has_a_reason(base::parse_size_bytes(text));
  has_a_reason(base::parse_rate(text));
  has_a_reason(base::parse_count(text));
  has_a_reason(beat::parse_signed_duration_ns(text));
  has_a_reason(cli::parse_when_ns(text, 1'767'225'600'000'000'000, cli::Toward::kPast));
  has_a_reason(worker::parse_cpu_list(text));
  has_a_reason(worker::parse_exec(text));
  const auto time = federation::parse_iso_time_us(text);
  has_a_reason(time);
  if (time.ok()) {
    const auto again = federation::parse_iso_time_us(federation::iso_time(*time));
    expect(again.ok(), "a time that was written is refused");
  }
  const auto url = federation::parse_redis_url(text);
  has_a_reason(url);
  if (url.ok() && !url->password.empty()) {
    // Whatever it is, the same is shown. (Its text may stand once more as the name of a host or a master.)
    auto another = *url;
    another.password += "another";
    expect(another.shown() == url->shown(), "a password is shown");
  }
}

}  // namespace stem::fuzz
