// What a gateway says of itself: in a small file beside its segment, so that it is seen on its host without Redis, and
// as part of its heartbeat, so that it is seen from every other.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "federation/exporter.hpp"
#include "federation/importer.hpp"
#include "shm/segment.hpp"

namespace stem::federation {

struct QueueReport {
  std::string name;
  bool exports = false, imports = false;
  std::uint64_t on_their_way = 0;  // Redis has not confirmed them
  std::uint64_t awaited = 0;       // there, and somebody here waits for their end
  std::uint64_t here = 0;          // from other hosts, not told yet
  ExportStats out;
  ImportStats in;
};

// Times are wall-clock microseconds; 0 = never.
struct GatewayStatus {
  std::string node;  // as people call this host
  std::string host;  // Transcript::host()
  std::int64_t pid = 0;
  std::string name_space;  // of the segment
  std::string redis;       // without a password
  std::string redis_name_space;
  std::int64_t started_us = 0;
  std::int64_t written_us = 0;
  bool connected = false;
  std::int64_t since_us = 0;  // connected or not: since then
  std::uint64_t losses = 0;   // connections that were lost
  std::string last_fault;
  std::int64_t last_fault_us = 0;
  std::vector<QueueReport> queues;
};

nlohmann::ordered_json json_of(const QueueReport& queue);
nlohmann::ordered_json json_of(const GatewayStatus& status);
// What is missing or of another kind stays as it is in a new one.
QueueReport queue_report_of(const nlohmann::ordered_json& json);

// Replaced as a whole: a reader sees the old one or the new one. Readable by whoever may use the segment.
Result<void> write_status_file(const shm::Segment& segment, const GatewayStatus& status);
void remove_status_file(const shm::Segment& segment);
// kNotFound when no gateway has written one; kCorrupt when it makes no sense. It may be of one that was killed.
Result<GatewayStatus> read_status_file(const shm::Segment& segment);

}  // namespace stem::federation
