#include "tools/stem/attachment.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <string>
#include <vector>

#include "base/clock.hpp"
#include "journal/expect.hpp"
#include "shm/names.hpp"
#include "tools/stem/exit_code.hpp"
#include "tools/stem/nearest.hpp"

namespace stem::cli {
namespace {

Error with_nearest(Error error, std::string_view name, const std::vector<std::string>& names) {
  error.message += did_you_mean(name, names);
  return error;
}

Result<std::shared_ptr<shm::Segment>> opened(Result<std::shared_ptr<shm::Segment>> segment, const Context& context) {
  if (segment.ok() || segment.error().code != Errc::kNotFound) return segment;
  std::vector<std::string> names;
  for (const auto& entry : shm::Segment::list()) names.push_back(entry.name_space);
  return with_nearest(segment.error(), context.namespace_name, names);
}

}  // namespace

Result<std::shared_ptr<shm::Segment>> attach_segment(const Context& context) {
  return opened(shm::Segment::attach(context.namespace_name), context);
}

Result<std::shared_ptr<shm::Segment>> watch_segment(const Context& context) {
  return opened(shm::Segment::watch(context.namespace_name), context);
}

Result<Attachment> Attachment::open(const Context& context) {
  auto segment = attach_segment(context);
  if (!segment.ok()) return segment.error();
  return join(*segment, shm::Role::kTool, "stem");
}

Result<Attachment> Attachment::watch(const Context& context) {
  const auto segment = watch_segment(context);
  if (!segment.ok()) return segment.error();
  return of(shm::Participant::watch(*segment));
}

Result<Attachment> Attachment::ask(const Context& context) {
  const auto segment = attach_segment(context);
  if (!segment.ok()) return segment.error();
  return of(shm::Participant::watch(*segment));
}

Result<Attachment> Attachment::open_or_create(const Context& context, shm::Role role, const std::string& name) {
  shm::SegmentOptions options;
  options.name_space = context.namespace_name;
  auto segment = journal::open_or_create(options);
  if (!segment.ok()) return segment.error();
  return join(*segment, role, name);
}

Result<Attachment> Attachment::join(std::shared_ptr<shm::Segment> segment, shm::Role role, const std::string& name) {
  auto participant = shm::Participant::join(std::move(segment), {.role = role, .name = name});
  if (!participant.ok()) return participant.error();
  return of(*std::move(participant));
}

Attachment Attachment::of(std::unique_ptr<shm::Participant> participant) {
  Attachment attachment;
  attachment.participant_ = std::move(participant);
  attachment.engine_ = std::make_unique<engine::Engine>(*attachment.participant_);
  return attachment;
}

bool is_named(const shm::Segment& segment) {
  struct stat named {};
  struct stat ours {};
  return ::stat(segment.path().c_str(), &named) == 0 && ::fstat(segment.fd(), &ours) == 0 &&
         named.st_dev == ours.st_dev && named.st_ino == ours.st_ino;
}

Result<std::uint32_t> queue_named(const shm::Segment& segment, std::string_view name) {
  auto id = shm::find_queue(segment, name);
  if (id.ok()) return id;
  std::vector<std::string> names;
  for (std::uint32_t i = 0; i < shm::queue_total(segment); ++i) {
    names.emplace_back(shm::queue_name(segment, i));
  }
  return with_nearest(id.error(), name, names);
}

Result<std::uint32_t> task_named(const shm::Segment& segment, std::string_view name) {
  auto id = shm::find_task(segment, name);
  if (id.ok()) return id;
  std::vector<std::string> names;
  for (std::uint32_t i = 0; i < shm::task_total(segment); ++i) {
    names.emplace_back(shm::task_name(segment, i));
  }
  return with_nearest(id.error(), name, names);
}

Moment Moment::now() { return {base::monotonic_ns(), base::realtime_ns()}; }

int exit_code_of(Errc code) {
  switch (code) {
    case Errc::kNotFound: return kExitNotFound;
    case Errc::kInvalidArgument: return kExitUsage;
    case Errc::kTimeout: return kExitTimeout;
    default: return kExitFailed;
  }
}

int fail(std::string_view command, const Error& error) {
  print_error(fmt::format("{}: {}", command, error.message));
  return exit_code_of(error.code);
}

}  // namespace stem::cli
