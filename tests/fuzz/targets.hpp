// What is fed with an enemy's bytes. A target returns when the bytes were taken or refused; whatever else it does
// (a crash, an abort, no end) is a fault. Each can be run alone, and any number of times in one process.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace stem::fuzz {

using Bytes = std::span<const std::uint8_t>;

// Ends the program, with the sentence: the target's own expectation was not met.
[[noreturn]] void fail(std::string_view what);
inline void expect(bool holds, std::string_view what) {
  if (!holds) fail(what);
}
inline std::string_view text_of(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

void run_segment(Bytes bytes);       // a segment spoilt anywhere, and everybody at work on it
void run_header(Bytes bytes);        // attaching to a file whose beginning is anything
void run_journal(Bytes bytes);       // a journal of made-up records, and the host that comes back with it
void run_payload(Bytes bytes);       // JSON and MessagePack of arguments and results
void run_envelope(Bytes bytes);      // tasks, dead letters and states as they come from Redis
void run_reply(Bytes bytes);         // what a Redis server says
void run_command_line(Bytes bytes);  // words behind `stem`
void run_schedule(Bytes bytes);      // cron, every:, spec objects, schedule files in YAML
void run_text(Bytes bytes);          // durations, sizes, rates, times, URLs, lists of cores

struct Target {
  const char* name;
  void (*run)(Bytes);
  const char* alphabet;  // what its mutations are made of; empty = any bytes
};

inline constexpr Target kTargets[] = {
    {"segment", run_segment, ""},
    {"header", run_header, ""},
    {"journal", run_journal, ""},
    {"payload", run_payload, ""},
    {"envelope", run_envelope, "{}[]\":,.-+eE0123456789 \\\"nulltruefalseTZidargsmeta"},
    {"reply", run_reply, "+-:$*0123456789\r\n-1OKERRnil"},
    {"command_line", run_command_line, "\n-=:,./ 0123456789abcdefghijklmnopqrstuvwxyz{}\"%"},
    {"schedule", run_schedule, "0123456789*/,-#L :.TZ{}[]\"\n&<!|>?%@`'every"},
    {"text", run_text, "0123456789.:,-+/@%[]?=& smhdkKMGiBTZredisunx"},
};

}  // namespace stem::fuzz
