// Where schedules are kept: in the host's segment, or in a Redis for all its hosts (--redis, STEM_SCHEDULE_STORE_URL).
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "beat/store.hpp"
#include "federation/shared_schedules.hpp"
#include "tools/stem/context.hpp"

namespace stem::cli {

class CommandLine;

struct StoreFlags {
  std::string redis_namespace;
  bool redis_cluster = false;
};

void declare_store_flags(CommandLine& line, StoreFlags* flags);

class Schedules {
 public:
  virtual ~Schedules() = default;
  // Ordered by id.
  virtual Result<std::vector<beat::StoredEntry>> list() = 0;
  // Whether it could be put here, whatever is there now.
  virtual Result<void> check(const beat::Entry&) const { return {}; }
  virtual Result<beat::Change> put(const beat::Entry& entry) = 0;
  virtual Result<beat::Change> remove(std::string_view id) = 0;
  // kNotFound with the nearest id that exists.
  Result<beat::StoredEntry> named(std::string_view id);
};

// kLooking takes no row in the roster; kMaking makes the segment when there is none.
enum class OpenFor { kLooking, kChanging, kMaking };
// kNotFound when there is nothing to read.
Result<std::unique_ptr<Schedules>> open_schedules(const StoreFlags& flags, const Context& context, OpenFor purpose);

// A Redis that keeps schedules.
struct SharedStore {
  SharedStore(federation::RedisOptions options, const std::string& redis_namespace, std::int64_t patience_ns)
      : keys(redis_namespace, options.follows_slot), redis(std::move(options), patience_ns), schedules(redis, keys) {}
  federation::Keys keys;
  federation::PersistentClient redis;
  federation::SharedSchedules schedules;
};

// nullptr when schedules are kept in the segment.
Result<std::unique_ptr<SharedStore>> open_shared(const StoreFlags& flags, const Context& context,
                                                 std::int64_t patience_ns);

}  // namespace stem::cli
