// Redis lists and Streams through hiredis, on a Unix socket, persistence off: Redis at its fastest.
#include <fmt/format.h>

#include <initializer_list>
#include <memory>

#include "bench/failure.hpp"
#include "bench/journal.hpp"
#include "bench/peer.hpp"
#include "bench/redis_client.hpp"

namespace stem::bench {

namespace {

// Sends tasks `pipeline` at a time; `append` puts one task into the pipeline.
void produce_pipelined(RedisClient& redis, const Work& work, std::uint64_t pipeline,
                       const std::function<void(std::string_view)>& append) {
  std::vector<char> payload(work.payload_bytes);
  for (std::uint64_t sent = 0; sent < work.tasks;) {
    const std::uint64_t batch = std::min(pipeline, work.tasks - sent);
    for (std::uint64_t i = 0; i < batch; ++i) {
      write_payload(work.first + sent + i, payload);
      append({payload.data(), payload.size()});
    }
    for (std::uint64_t i = 0; i < batch; ++i) redis.reply();
    sent += batch;
  }
}

void expect_zero(RedisClient& redis, std::initializer_list<std::string_view> length_command) {
  const Reply reply = redis.command(length_command);
  if (reply->integer != 0) {
    throw Failure(fmt::format("redis: {} entries are left in {}", reply->integer, *(length_command.begin() + 1)));
  }
}

// ---- Reliable list: each task moves to a processing list and is removed from it when done ------------

// The oldest task stands at the right end of `processing`, so that LREM from the right finds it at once.
void consume_reliable(RedisClient& redis, const Work& work, std::uint64_t pipeline) {
  TaskLedger ledger(work.tasks, work.payload_bytes);
  std::vector<Reply> held;
  while (ledger.seen() < work.tasks || !held.empty()) {
    // Acknowledge what is held and ask for more in one round trip.
    const std::uint64_t wanted = std::min(pipeline, work.tasks - ledger.seen());
    const std::size_t acknowledged = held.size();
    for (const Reply& task : held) redis.append({"LREM", "processing", "-1", text_of(*task)});
    for (std::uint64_t i = 0; i < wanted; ++i) redis.append({"LMOVE", "tasks", "processing", "RIGHT", "LEFT"});
    for (std::size_t i = 0; i < acknowledged; ++i) {
      if (redis.reply()->integer != 1) throw Failure("redis: a task was gone before it was acknowledged");
    }
    held.clear();
    for (std::uint64_t i = 0; i < wanted; ++i) {
      Reply task = redis.reply();
      if (task->type == REDIS_REPLY_STRING) held.push_back(std::move(task));
    }
    if (held.empty() && wanted > 0) {  // nothing there: sleep in the server, do not poll it
      Reply task = redis.command({"BLMOVE", "tasks", "processing", "RIGHT", "LEFT", "1"});
      if (task->type == REDIS_REPLY_STRING) held.push_back(std::move(task));
    }
    for (const Reply& task : held) ledger.mark(text_of(*task));
  }
}

// One at a time a client blocks for the task and acknowledges it: two round trips.
void consume_reliable_singly(RedisClient& redis, const Work& work) {
  TaskLedger ledger(work.tasks, work.payload_bytes);
  while (ledger.seen() < work.tasks) {
    const Reply task = redis.command({"BLMOVE", "tasks", "processing", "RIGHT", "LEFT", "1"});
    if (task->type != REDIS_REPLY_STRING) continue;
    ledger.mark(text_of(*task));
    if (redis.command({"LREM", "processing", "-1", text_of(*task)})->integer != 1) {
      throw Failure("redis: a task was gone before it was acknowledged");
    }
  }
}

PeerResult run_reliable_on(const RedisServer& server, const std::string& name, const Work& work, std::uint64_t pipeline,
                           std::uint64_t consumed_at_once) {
  const PeerResult result =
      run_sides(name, work,
                shared_out(work,
                           [&](const Work& share) -> std::function<void()> {
                             auto redis = std::make_shared<RedisClient>(server.socket());
                             return [share, pipeline, redis] {
                               produce_pipelined(*redis, share, pipeline, [&](std::string_view payload) {
                                 redis->append({"LPUSH", "tasks", payload});
                               });
                             };
                           }),
                [&]() -> std::function<void()> {
                  auto redis = std::make_shared<RedisClient>(server.socket());
                  return [&work, consumed_at_once, redis] {
                    consumed_at_once > 1 ? consume_reliable(*redis, work, consumed_at_once)
                                         : consume_reliable_singly(*redis, work);
                  };
                });
  RedisClient redis(server.socket());
  expect_zero(redis, {"LLEN", "tasks"});
  expect_zero(redis, {"LLEN", "processing"});
  return result;
}

PeerResult run_reliable(const std::string& name, const Work& work, std::uint64_t pipeline) {
  return run_reliable_on(RedisServer(), name, work, pipeline, pipeline);
}

// ---- Plain list: nobody acknowledges; what a killed consumer had popped is lost ------------------------

void produce_plain(RedisClient& redis, const Work& work, std::uint64_t batch) {
  std::vector<char> payloads(batch * work.payload_bytes);
  std::vector<std::string_view> words;
  for (std::uint64_t sent = 0; sent < work.tasks;) {
    const std::uint64_t count = std::min(batch, work.tasks - sent);
    words = {"LPUSH", "tasks"};
    for (std::uint64_t i = 0; i < count; ++i) {
      char* payload = payloads.data() + i * work.payload_bytes;
      write_payload(sent + i, {payload, work.payload_bytes});
      words.emplace_back(payload, work.payload_bytes);
    }
    redis.append_words(words);
    redis.reply();
    sent += count;
  }
}

void consume_plain(RedisClient& redis, const Work& work, std::uint64_t batch) {
  TaskLedger ledger(work.tasks, work.payload_bytes);
  const std::string count = std::to_string(batch);
  while (ledger.seen() < work.tasks) {
    if (batch > 1) {
      const Reply tasks = redis.command({"RPOP", "tasks", count});
      for (std::size_t i = 0; i < tasks->elements; ++i) ledger.mark(text_of(*tasks->element[i]));
      if (tasks->elements > 0) continue;
    }
    const Reply one = redis.command({"BRPOP", "tasks", "1"});  // nothing there: sleep in the server
    if (one->elements == 2) ledger.mark(text_of(*one->element[1]));
  }
}

PeerResult run_plain(const std::string& name, const Work& work, std::uint64_t batch) {
  const RedisServer server;
  const PeerResult result = run_sides(
      name, work,
      [&]() -> std::function<void()> {
        auto redis = std::make_shared<RedisClient>(server.socket());
        return [&work, batch, redis] { produce_plain(*redis, work, batch); };
      },
      [&]() -> std::function<void()> {
        auto redis = std::make_shared<RedisClient>(server.socket());
        return [&work, batch, redis] { consume_plain(*redis, work, batch); };
      });
  RedisClient redis(server.socket());
  expect_zero(redis, {"LLEN", "tasks"});
  return result;
}

// ---- Streams with a consumer group ----------------------------------------------------------------------

// XREADGROUP's reply for one stream is [[name, [[id, [field, value]], ...]]], or nil when the wait ran out.
const redisReply* entries_of(const Reply& streams) {
  if (!streams || streams->type != REDIS_REPLY_ARRAY || streams->elements == 0) return nullptr;
  return streams->element[0]->element[1];
}

void acknowledge_entries(RedisClient& redis, const redisReply& entries) {
  std::vector<std::string_view> acknowledge{"XACK", "tasks", "workers"};
  std::vector<std::string_view> remove{"XDEL", "tasks"};
  for (std::size_t i = 0; i < entries.elements; ++i) {
    acknowledge.push_back(text_of(*entries.element[i]->element[0]));
    remove.push_back(text_of(*entries.element[i]->element[0]));
  }
  redis.append_words(acknowledge);
  redis.append_words(remove);
}

void consume_stream(RedisClient& redis, const Work& work, std::uint64_t pipeline) {
  TaskLedger ledger(work.tasks, work.payload_bytes);
  const std::string count = std::to_string(pipeline);
  Reply held(nullptr, freeReplyObject);
  while (ledger.seen() < work.tasks || entries_of(held) != nullptr) {
    // Acknowledge what is held and ask for more in one round trip.
    const redisReply* entries = entries_of(held);
    const bool more = ledger.seen() < work.tasks;
    if (entries != nullptr) acknowledge_entries(redis, *entries);
    if (more) {
      redis.append({"XREADGROUP", "GROUP", "workers", "one", "COUNT", count, "BLOCK", "1000", "STREAMS", "tasks", ">"});
    }
    for (int i = 0; entries != nullptr && i < 2; ++i) {
      if (redis.reply()->integer == static_cast<long long>(entries->elements)) continue;
      throw Failure("redis: a stream entry was gone before it was acknowledged");
    }
    held.reset();
    if (!more) continue;
    held = redis.reply();
    entries = entries_of(held);
    for (std::size_t i = 0; entries != nullptr && i < entries->elements; ++i) {
      ledger.mark(text_of(*entries->element[i]->element[1]->element[1]));
    }
  }
}

PeerResult run_stream(const std::string& name, const Work& work, std::uint64_t pipeline) {
  const RedisServer server;
  RedisClient redis(server.socket());
  redis.command({"XGROUP", "CREATE", "tasks", "workers", "0", "MKSTREAM"});
  const PeerResult result = run_sides(
      name, work,
      [&]() -> std::function<void()> {
        auto client = std::make_shared<RedisClient>(server.socket());
        return [&work, pipeline, client] {
          produce_pipelined(*client, work, pipeline, [&](std::string_view payload) {
            client->append({"XADD", "tasks", "*", "p", payload});
          });
        };
      },
      [&]() -> std::function<void()> {
        auto client = std::make_shared<RedisClient>(server.socket());
        return [&work, pipeline, client] { consume_stream(*client, work, pipeline); };
      });
  expect_zero(redis, {"XLEN", "tasks"});
  return result;
}

std::string redis_missing() {
  return find_program("redis-server") ? std::string() : std::string("redis-server is not installed");
}

}  // namespace

std::vector<Peer> redis_peers() {
  const auto peer = [&](const char* key, const char* name, const char* how, auto run, std::uint64_t pipeline) {
    Peer one;
    one.key = key;
    one.name = name;
    one.how = how;
    one.missing = redis_missing;
    one.run = [run, pipeline, label = one.name](const Work& work) { return run(label, work, pipeline); };
    return one;
  };
  std::vector<Peer> peers{
      peer("redis_lists_100", "Redis lists, by 100", "LPUSH; LMOVE, LREM; pipelined by 100", run_reliable, 100),
      peer("redis_lists_1", "Redis lists, one by one", "LPUSH; BLMOVE, LREM", run_reliable, 1),
      peer("redis_plain_100", "Redis plain list, by 100", "LPUSH of 100; RPOP of 100; nothing acknowledged", run_plain,
           100),
      peer("redis_plain_1", "Redis plain list, one by one", "LPUSH; BRPOP; nothing acknowledged", run_plain, 1),
      peer("redis_streams_100", "Redis Streams, by 100",
           "XADD; XREADGROUP of 100, XACK and XDEL of 100; pipelined by 100", run_stream, 100),
      peer("redis_streams_1", "Redis Streams, one by one", "XADD; XREADGROUP, XACK, XDEL", run_stream, 1),
  };
  peers[2].acknowledges = peers[3].acknowledges = false;
  return peers;
}

Peer redis_aof(const std::string& directory, const std::string& fsync) {
  Peer one;
  one.key = "redis_aof_" + fsync;
  one.name = "Redis lists, AOF " + fsync;
  one.how = "LPUSH; LMOVE, LREM; pipelined by 100; appendfsync " + fsync;
  one.missing = redis_missing;
  one.run = [directory, fsync, label = one.name](const Work& work) {
    return run_reliable_on(RedisServer(directory, fsync), label, work, work.batch, 100);
  };
  return one;
}

}  // namespace stem::bench
