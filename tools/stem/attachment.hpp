// A command's hold on the segment of its namespace: attached as a tool, with an engine to work through.
// Belongs to the thread that opened it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "engine/engine.hpp"
#include "shm/participant.hpp"
#include "shm/segment.hpp"
#include "tools/stem/context.hpp"

namespace stem::cli {

class Attachment {
 public:
  // kNotFound, with the nearest namespace that exists; what Segment::attach and Participant::join say.
  static Result<Attachment> open(const Context& context);
  // The same for who only looks: takes no row in the roster, and maps the segment read-only.
  static Result<Attachment> watch(const Context& context);
  // The same for who looks and asks workers (a word in their rows): no row either, but the mapping can be written.
  static Result<Attachment> ask(const Context& context);
  // The same, and makes the segment when there is none: for what may come before every other process.
  static Result<Attachment> open_or_create(const Context& context, shm::Role role, const std::string& name);

  [[nodiscard]] engine::Engine& engine() const { return *engine_; }
  [[nodiscard]] shm::Segment& segment() const { return participant_->segment(); }
  [[nodiscard]] std::uint32_t participant() const { return participant_->index(); }

 private:
  Attachment() = default;
  static Attachment of(std::unique_ptr<shm::Participant> participant);
  static Result<Attachment> join(std::shared_ptr<shm::Segment> segment, shm::Role role, const std::string& name);

  std::unique_ptr<shm::Participant> participant_;
  std::unique_ptr<engine::Engine> engine_;  // ends before its participant
};

// The segment alone, for what needs no row in its roster; the second maps it read-only. The same errors.
Result<std::shared_ptr<shm::Segment>> attach_segment(const Context& context);
Result<std::shared_ptr<shm::Segment>> watch_segment(const Context& context);

// False once its name was removed or given to another segment.
bool is_named(const shm::Segment& segment);

// The number of a queue or task; kNotFound with the nearest name that exists.
Result<std::uint32_t> queue_named(const shm::Segment& segment, std::string_view name);
Result<std::uint32_t> task_named(const shm::Segment& segment, std::string_view name);

// Both clocks at one moment: tells when on the wall clock something of the segment was.
struct Moment {
  std::int64_t monotonic_ns = 0;
  std::int64_t realtime_ns = 0;

  static Moment now();
  [[nodiscard]] std::int64_t to_realtime_ns(std::int64_t monotonic) const {
    return realtime_ns - (monotonic_ns - monotonic);
  }
  [[nodiscard]] std::int64_t to_monotonic_ns(std::int64_t realtime) const {
    return monotonic_ns - (realtime_ns - realtime);
  }
};

// What the shell gets for an error.
int exit_code_of(Errc code);

// Prints the error and returns its exit code.
int fail(std::string_view command, const Error& error);

}  // namespace stem::cli
