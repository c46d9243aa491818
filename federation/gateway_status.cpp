#include "federation/gateway_status.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string_view>

#include "federation/iso_time.hpp"

namespace stem::federation {
namespace {

using nlohmann::ordered_json;

constexpr off_t kMostBytes = 1 << 20;

// Hidden, so that nobody takes it for a segment.
std::string file_of(const shm::Segment& segment, std::string_view suffix = {}) {
  const std::string& path = segment.path();
  const std::size_t name = path.rfind('/') + 1;
  return path.substr(0, name) + '.' + path.substr(name) + ".gateway" + std::string(suffix);
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  explicit operator bool() const { return fd_ >= 0; }
  int operator*() const { return fd_; }

 private:
  int fd_;
};

ordered_json time_json(std::int64_t time_us) {
  return time_us == 0 ? ordered_json(nullptr) : ordered_json(iso_time(time_us));
}

void take(const ordered_json& json, const char* name, std::uint64_t& into) {
  if (const auto found = json.find(name); found != json.end() && found->is_number_unsigned())
    into = found->get<std::uint64_t>();
}

void take(const ordered_json& json, const char* name, std::string& into) {
  if (const auto found = json.find(name); found != json.end() && found->is_string()) into = found->get<std::string>();
}

void take(const ordered_json& json, const char* name, bool& into) {
  if (const auto found = json.find(name); found != json.end() && found->is_boolean()) into = found->get<bool>();
}

void take_time(const ordered_json& json, const char* name, std::int64_t& into) {
  std::string text;
  take(json, name, text);
  if (const auto time = parse_iso_time_us(text); time.ok()) into = *time;
}

GatewayStatus status_of(const ordered_json& json) {
  GatewayStatus status;
  take(json, "node", status.node);
  take(json, "host", status.host);
  std::uint64_t pid = 0;
  take(json, "pid", pid);
  status.pid = static_cast<std::int64_t>(pid);
  take(json, "namespace", status.name_space);
  take(json, "redis", status.redis);
  take(json, "redisNamespace", status.redis_name_space);
  take_time(json, "startedAt", status.started_us);
  take_time(json, "writtenAt", status.written_us);
  take(json, "connected", status.connected);
  take_time(json, "since", status.since_us);
  take(json, "losses", status.losses);
  take(json, "lastFault", status.last_fault);
  take_time(json, "lastFaultAt", status.last_fault_us);
  if (const auto queues = json.find("queues"); queues != json.end() && queues->is_array())
    for (const ordered_json& queue : *queues) status.queues.push_back(queue_report_of(queue));
  return status;
}

Result<void> write_all(int fd, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return system_error("write " + path);
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

}  // namespace

ordered_json json_of(const QueueReport& queue) {
  return {{"queue", queue.name},
          {"exports", queue.exports},
          {"imports", queue.imports},
          {"onTheirWay", queue.on_their_way},
          {"awaited", queue.awaited},
          {"here", queue.here},
          {"sent", queue.out.sent},
          {"confirmed", queue.out.confirmed},
          {"recovered", queue.out.recovered},
          {"resent", queue.out.resent},
          {"notUnique", queue.out.duplicates},
          {"results", queue.out.results},
          {"lost", queue.out.lost},
          {"letGo", queue.out.let_go},
          {"imported", queue.in.imported},
          {"settled", queue.in.settled},
          {"dead", queue.in.dead},
          {"duplicates", queue.in.duplicates},
          {"invalid", queue.in.invalid},
          {"reclaimed", queue.in.reclaimed},
          {"fenced", queue.in.fenced},
          {"returned", queue.in.returned},
          {"revoked", queue.in.revoked}};
}

QueueReport queue_report_of(const ordered_json& json) {
  QueueReport queue;
  if (!json.is_object()) return queue;
  take(json, "queue", queue.name);
  take(json, "exports", queue.exports);
  take(json, "imports", queue.imports);
  take(json, "onTheirWay", queue.on_their_way);
  take(json, "awaited", queue.awaited);
  take(json, "here", queue.here);
  take(json, "sent", queue.out.sent);
  take(json, "confirmed", queue.out.confirmed);
  take(json, "recovered", queue.out.recovered);
  take(json, "resent", queue.out.resent);
  take(json, "notUnique", queue.out.duplicates);
  take(json, "results", queue.out.results);
  take(json, "lost", queue.out.lost);
  take(json, "letGo", queue.out.let_go);
  take(json, "imported", queue.in.imported);
  take(json, "settled", queue.in.settled);
  take(json, "dead", queue.in.dead);
  take(json, "duplicates", queue.in.duplicates);
  take(json, "invalid", queue.in.invalid);
  take(json, "reclaimed", queue.in.reclaimed);
  take(json, "fenced", queue.in.fenced);
  take(json, "returned", queue.in.returned);
  take(json, "revoked", queue.in.revoked);
  return queue;
}

ordered_json json_of(const GatewayStatus& status) {
  ordered_json queues = ordered_json::array();
  for (const QueueReport& queue : status.queues) queues.push_back(json_of(queue));
  return {{"node", status.node},
          {"host", status.host},
          {"pid", static_cast<std::uint64_t>(status.pid)},
          {"namespace", status.name_space},
          {"redis", status.redis},
          {"redisNamespace", status.redis_name_space},
          {"startedAt", time_json(status.started_us)},
          {"writtenAt", time_json(status.written_us)},
          {"connected", status.connected},
          {"since", time_json(status.since_us)},
          {"losses", status.losses},
          {"lastFault", status.last_fault.empty() ? ordered_json(nullptr) : ordered_json(status.last_fault)},
          {"lastFaultAt", time_json(status.last_fault_us)},
          {"queues", std::move(queues)}};
}

Result<void> write_status_file(const shm::Segment& segment, const GatewayStatus& status) {
  struct stat shared {};
  if (::stat(segment.path().c_str(), &shared) != 0) return system_error("stat " + segment.path());
  const std::string path = file_of(segment), fresh = file_of(segment, ".new");
  ::unlink(fresh.c_str());  // of one that was killed while it wrote
  const Descriptor file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return system_error("open " + fresh);
  // A reader has no need to write it.
  if (::fchmod(*file, shared.st_mode & 0640) != 0) return system_error("chmod " + fresh);
  if ((shared.st_mode & 0040) != 0 && ::fchown(*file, static_cast<uid_t>(-1), shared.st_gid) != 0)
    return system_error("chown " + fresh);
  const std::string text = json_of(status).dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  if (auto written = write_all(*file, text, fresh); !written) return written;
  if (::rename(fresh.c_str(), path.c_str()) != 0) return system_error("rename " + fresh);
  return {};
}

void remove_status_file(const shm::Segment& segment) { ::unlink(file_of(segment).c_str()); }

Result<GatewayStatus> read_status_file(const shm::Segment& segment) {
  const std::string path = file_of(segment);
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  if (!file) {
    if (errno == ENOENT) return Error{Errc::kNotFound, "no gateway has run on this host"};
    return system_error("open " + path);
  }
  struct stat st {};
  if (::fstat(*file, &st) != 0) return system_error("stat " + path);
  if (!S_ISREG(st.st_mode) || st.st_size > kMostBytes)
    return Error{Errc::kCorrupt, path + " is not what a gateway writes"};
  std::string text(static_cast<std::size_t>(st.st_size), '\0');
  const ssize_t n = ::pread(*file, text.data(), text.size(), 0);
  if (n < 0) return system_error("read " + path);
  text.resize(static_cast<std::size_t>(n));
  const ordered_json json = ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return Error{Errc::kCorrupt, path + " is not what a gateway writes"};
  return status_of(json);
}

}  // namespace stem::federation
