#include "stem/client.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>
#include <thread>

#include "engine/control.hpp"
#include "engine_worker.hpp"
#include "private_segments.hpp"
#include "stem/json.hpp"

namespace stem::api_tests {
namespace {

struct Point {
  int x;
  int y;
};
struct Resize {
  std::string path;
  int width = 0;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Resize, path, width)

constexpr Task<int(Point)> add{"math.add"};
constexpr Task<std::string(Resize)> resize{"img.resize", {.queue = "img"}};
constexpr Task<void(std::string)> note{"note"};
constexpr Task<int(int, int)> sum{"math.sum"};

std::string bytes_of(BytesView bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

class ClientTest : public ::testing::Test {
 protected:
  Client open(const ClientOptions& options = {}) {
    auto client = Client::open("t", options);
    EXPECT_TRUE(client.ok()) << client.error().message;
    return std::move(*client);
  }
  PrivateSegments segments_;
};

TEST_F(ClientTest, AnInPlaceArgumentComesBackAsAnInPlaceResult) {
  Client client = open();
  EngineWorker worker("t", "default", [](const engine::TaskView& task) {
    EXPECT_NE(task.flags & shm::kInPlace, 0);
    const auto p = Codec<Point>::decode(task.payload);
    EXPECT_TRUE(p.ok());
    return bytes_of(Codec<int>::encode(p->x + p->y));
  });
  auto handle = client.enqueue(add, {20, 22});
  ASSERT_TRUE(handle.ok()) << handle.error().message;
  auto answer = handle->get(10s);
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  EXPECT_EQ(*answer, 42);
  EXPECT_EQ(*handle->state(), TaskState::kSucceeded);
  EXPECT_EQ(*client.handle<int>(handle->id_text())->get(1s), 42);
}

TEST_F(ClientTest, JsonArgumentsTravelAsMessagePack) {
  Client client = open();
  EngineWorker worker("t", "img", [](const engine::TaskView& task) {
    const auto r = Codec<Resize>::decode(task.payload);
    EXPECT_TRUE(r.ok());
    return r->path + "@" + std::to_string(r->width);
  });
  auto handle = client.enqueue(resize, {"a.jpg", 64});
  ASSERT_TRUE(handle.ok());
  EXPECT_EQ(*handle->get(10s), "a.jpg@64");
}

TEST_F(ClientTest, SeveralArgumentsAreATuple) {
  Client client = open();
  EngineWorker worker("t", "default", [](const engine::TaskView& task) {
    const auto args = Codec<std::tuple<int, int>>::decode(task.payload);
    EXPECT_TRUE(args.ok());
    return bytes_of(Codec<int>::encode(std::get<0>(*args) - std::get<1>(*args)));
  });
  EXPECT_EQ(*client.enqueue(sum, {50, 8})->get(10s), 42);
}

TEST_F(ClientTest, ATaskNobodyRunsTimesOutAndSaysItIsQueued) {
  Client client = open();
  auto handle = client.enqueue(add, {1, 2});
  ASSERT_TRUE(handle.ok());
  EXPECT_EQ(*handle->state(), TaskState::kQueued);
  auto answer = handle->get(5ms);
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.error().code, Errc::kTimeout);
  EXPECT_EQ(*handle->revoke(), TaskState::kCancelled);
  answer = handle->get(1s);
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.error().code, Errc::kRefused);
  EXPECT_NE(answer.error().message.find("revoked"), std::string::npos) << answer.error().message;
  EXPECT_EQ(handle->revoke().error().code, Errc::kRefused);
}

TEST_F(ClientTest, WhatKeptNothingIsGoneAndSaysSo) {
  Client client = open();
  auto handle = client.enqueue(note, "x");
  ASSERT_TRUE(handle.ok());
  EngineWorker worker("t", "default", [](const engine::TaskView&) { return ""; });
  EXPECT_EQ(*handle->wait(10s), TaskState::kGone);
  EXPECT_EQ(handle->get(1s).error().code, Errc::kNotFound);
  // The same, with an outcome to keep.
  auto kept = client.enqueue(note, "x", {.result_ttl = 1h});
  EXPECT_TRUE(kept->get(10s).ok());
}

TEST_F(ClientTest, ManyAtOnceKeepTheirOrderAndIds) {
  Client client = open();
  std::vector<Point> points;
  for (int i = 0; i < 1000; ++i) points.push_back({i, i});
  auto many = client.enqueue_many(add, points);
  ASSERT_FALSE(many.error);
  ASSERT_EQ(many.handles.size(), 1000u);
  EngineWorker worker("t", "default", [](const engine::TaskView& task) {
    return bytes_of(Codec<int>::encode(Codec<Point>::decode(task.payload)->x * 2));
  });
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(*many.handles[static_cast<std::size_t>(i)].get(10s), i * 2);
}

TEST_F(ClientTest, ManyThreadsUseOneClient) {
  Client client = open();
  EngineWorker worker("t", "default", [](const engine::TaskView& task) {
    const auto p = *Codec<Point>::decode(task.payload);
    return bytes_of(Codec<int>::encode(p.x * 1000 + p.y));
  });
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&client, t] {
      for (int i = 0; i < 200; ++i) {
        auto handle = client.enqueue(add, {t, i});
        ASSERT_TRUE(handle.ok()) << handle.error().message;
        if (i % 20 == 0) {
          auto answer = handle->get(20s);
          ASSERT_TRUE(answer.ok()) << answer.error().message;
          EXPECT_EQ(*answer, t * 1000 + i);
        }
      }
    });
  for (auto& t : threads) t.join();
}

TEST_F(ClientTest, EndedThreadsGiveTheirPlacesBack) {
  Client client = open({.participant_capacity = 4});
  for (int i = 0; i < 40; ++i) std::thread([&client] { EXPECT_TRUE(client.enqueue(note, "x").ok()); }).join();
  // And when all are taken, the error says what to do.
  auto segment = shm::Segment::attach("t");
  ASSERT_TRUE(segment.ok());
  std::vector<std::unique_ptr<shm::Participant>> others;
  for (int i = 0; i < 4; ++i) others.push_back(std::move(*shm::Participant::join(*segment, {})));
  auto refused = client.enqueue(note, "x");
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Errc::kFull);
  others.clear();
  EXPECT_TRUE(client.enqueue(note, "x").ok());
}

TEST_F(ClientTest, AForkedChildEnqueuesOnItsOwnAttachment) {
  Client client = open();
  auto before = client.enqueue(note, "parent");
  ASSERT_TRUE(before.ok());
  const pid_t child = ::fork();
  if (child == 0) {
    bool good = true;
    for (int i = 0; i < 10; ++i) good = good && client.enqueue(note, "child").ok();
    std::thread([&] { good = good && client.enqueue(note, "thread of the child").ok(); }).join();
    ::_exit(good ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  auto after = client.enqueue(note, "parent again");
  ASSERT_TRUE(after.ok());
  std::atomic<int> from_child{0}, from_parent{0};
  {
    EngineWorker worker("t", "default", [&](const engine::TaskView& task) {
      (bytes_of(task.payload).find("child") != std::string::npos ? from_child : from_parent)++;
      return "";
    });
    EXPECT_EQ(*after->wait(10s), TaskState::kGone);
    while (worker.done() < 13) std::this_thread::yield();
  }
  EXPECT_EQ(from_child, 11);
  EXPECT_EQ(from_parent, 2);
}

TEST_F(ClientTest, ALoanIsWrittenInPlaceOrGivenBack) {
  Client client = open();
  constexpr Task<std::string(std::string)> echo{"echo"};
  EngineWorker worker("t", "default", [](const engine::TaskView& task) { return bytes_of(task.payload); });
  for (const std::size_t size : {5u, 500u, 500'000u}) {
    {
      auto dropped = client.loan(echo, size);
      ASSERT_TRUE(dropped.ok());
    }
    auto loan = client.loan(echo, size);
    ASSERT_TRUE(loan.ok()) << loan.error().message;
    ASSERT_EQ(loan->bytes().size(), size);
    std::fill(loan->bytes().begin(), loan->bytes().end(), std::byte{'z'});
    auto handle = loan->publish();
    ASSERT_TRUE(handle.ok()) << handle.error().message;
    EXPECT_EQ(loan->publish().error().code, Errc::kRefused);
    EXPECT_EQ(*handle->get(10s), std::string(size, 'z'));
  }
  EXPECT_EQ(client.loan(echo, (1u << 20) + 1).error().code, Errc::kTooLarge);
}

TEST_F(ClientTest, BadInputIsRefusedWithASentence) {
  Client client = open();
  const auto code = [&](const TaskInfo& task, const EnqueueOptions& options) {
    auto refused = client.enqueue_raw(task, {}, options);
    EXPECT_FALSE(refused.ok());
    if (refused.ok()) return Errc::kSystem;
    EXPECT_GT(refused.error().message.size(), 20u);
    return refused.error().code;
  };
  EXPECT_EQ(code({"r", {.rate_limit = "ten/s"}, false}, {}), Errc::kInvalidArgument);
  EXPECT_EQ(code({"r", {.rate_limit = "10"}, false}, {}), Errc::kInvalidArgument);
  EXPECT_EQ(code({"r", {.group_rate_limit = "10/s"}, false}, {}), Errc::kInvalidArgument);
  EXPECT_EQ(code({"", {}, false}, {}), Errc::kInvalidArgument);
  EXPECT_EQ(code({std::string(200, 'x'), {}, false}, {}), Errc::kInvalidArgument);
  EXPECT_EQ(code({"two words", {}, false}, {}), Errc::kInvalidArgument);
  EXPECT_EQ(code({"r", {.max_retries = -1}, false}, {}), Errc::kInvalidArgument);
  EXPECT_EQ(code({"r", {.visibility_timeout = 0s}, false}, {}), Errc::kInvalidArgument);
  EXPECT_EQ(code({"r", {.concurrency_limit = 1000}, false}, {}), Errc::kInvalidArgument);
  EXPECT_EQ(code({"r", {}, false}, {.delay = -1s}), Errc::kInvalidArgument);
  EXPECT_EQ(code({"r", {}, false}, {.delay = 1s, .eta = std::chrono::system_clock::now()}), Errc::kInvalidArgument);
  EXPECT_EQ(code({"r", {}, false}, {.meta = "[1]"}), Errc::kInvalidArgument);
  EXPECT_EQ(code({"r", {}, false}, {.meta = "{"}), Errc::kInvalidArgument);
  EXPECT_EQ(code({"r", {}, false}, {.meta = R"({"stem.parent": 1})"}), Errc::kInvalidArgument);
  EXPECT_EQ(code({"r", {}, false}, {.headers = {{"a", "\xff"}}}), Errc::kInvalidArgument);
  EXPECT_EQ(code({"r", {}, false}, {.concurrency_key = "k"}), Errc::kInvalidArgument);
  const Bytes large((1u << 20) + 1);
  EXPECT_EQ(client.enqueue_raw("r", large).error().code, Errc::kTooLarge);
  EXPECT_EQ(client.handle<int>("no-id").error().code, Errc::kInvalidArgument);
  EXPECT_EQ(Client::open("absent", {.create = false}).error().code, Errc::kNotFound);
  EXPECT_EQ(*client.handle<int>(to_string(TaskId::make(0xbeef, 1, 1)))->state(), TaskState::kGone);
}

TEST_F(ClientTest, AFullSegmentSaysFullAndWaitsWhenAsked) {
  Client client = open({.task_capacity = 64});
  std::optional<Error> full;
  int accepted = 0;
  while (!full && accepted < 1000) {
    auto handle = client.enqueue(note, "x");
    if (handle)
      ++accepted;
    else
      full = handle.error();
  }
  ASSERT_TRUE(full);
  EXPECT_EQ(full->code, Errc::kFull);
  EXPECT_GE(accepted, 32);
  const auto started = std::chrono::steady_clock::now();
  EXPECT_EQ(client.enqueue(note, "x", {.full_timeout = 30ms}).error().code, Errc::kFull);
  EXPECT_GE(std::chrono::steady_clock::now() - started, 30ms);
  EngineWorker worker("t", "default", [](const engine::TaskView&) { return ""; });
  EXPECT_TRUE(client.enqueue(note, "x", {.full_timeout = 20s}).ok());
}

// The queue's own limit, with each overflow policy.
class OverflowTest : public ClientTest {
 protected:
  OverflowTest()
      : client_(open()), segment_(*shm::Segment::attach("t")), self_(*shm::Participant::join(segment_, {})) {}
  void limit(shm::Overflow overflow) {
    engine::Engine e(*self_);
    engine::Control::Limits limits;
    limits.max_length = 3;
    limits.overflow = static_cast<int>(overflow);
    engine::Control(e).set_limits(*shm::intern_queue(*segment_, "default"), limits);
  }
  std::vector<Handle<void>> fill() {
    std::vector<Handle<void>> handles;
    for (int i = 0; i < 3; ++i) handles.push_back(*client_.enqueue(note, "x", {.result_ttl = 1h}));
    return handles;
  }
  Client client_;
  std::shared_ptr<shm::Segment> segment_;
  std::unique_ptr<shm::Participant> self_;
};

TEST_F(OverflowTest, RejectSaysFullAtOnce) {
  limit(shm::Overflow::kReject);
  (void)fill();
  EXPECT_EQ(client_.enqueue(note, "x").error().code, Errc::kFull);
}

TEST_F(OverflowTest, BlockWaitsUntilThereIsRoomOrTheTimeIsOver) {
  limit(shm::Overflow::kBlock);
  (void)fill();
  const auto started = std::chrono::steady_clock::now();
  EXPECT_EQ(client_.enqueue(note, "x", {.full_timeout = 40ms}).error().code, Errc::kFull);
  EXPECT_GE(std::chrono::steady_clock::now() - started, 40ms);
  EXPECT_EQ(client_.enqueue(note, "x", {.full_timeout = 0ms}).error().code, Errc::kFull);
  EngineWorker worker("t", "default", [](const engine::TaskView&) { return ""; });
  EXPECT_TRUE(client_.enqueue(note, "x", {.full_timeout = 20s}).ok());
}

TEST_F(OverflowTest, DropOldestCancelsTheOldest) {
  limit(shm::Overflow::kDropOldest);
  const auto handles = fill();
  EXPECT_TRUE(client_.enqueue(note, "x").ok());
  EXPECT_EQ(*handles[0].state(), TaskState::kCancelled);
  EXPECT_EQ(*handles[1].state(), TaskState::kQueued);
}

// A segment has room for all queues together; when it is full, the policy of the queue says what becomes of one more.
TEST_F(ClientTest, AFullSegmentObeysThePolicyOfTheQueue) {
  Client client = open({.task_capacity = 64});
  const auto segment = *shm::Segment::attach("t");
  const auto self = *shm::Participant::join(segment, {});
  engine::Engine e(*self);
  const auto policy = [&](shm::Overflow overflow) {
    engine::Control::Limits limits;
    limits.overflow = static_cast<int>(overflow);
    engine::Control(e).set_limits(*shm::intern_queue(*segment, "default"), limits);
  };
  std::vector<Handle<void>> handles;
  std::optional<Error> full;
  while (!full && handles.size() < 1000) {
    auto handle = client.enqueue(note, "x");
    if (handle)
      handles.push_back(*handle);
    else
      full = handle.error();
  }
  ASSERT_TRUE(full);
  for (const auto overflow : {shm::Overflow::kReject, shm::Overflow::kBlock}) {
    policy(overflow);
    const auto refused = client.enqueue(note, "y", {.full_timeout = 5ms});
    ASSERT_FALSE(refused.ok()) << static_cast<int>(overflow);
    EXPECT_EQ(refused.error().code, Errc::kFull);
  }
  for (const auto& handle : handles) EXPECT_EQ(*handle.state(), TaskState::kQueued) << "nothing was dropped for it";
  policy(shm::Overflow::kDropOldest);
  const auto newest = client.enqueue(note, "z");
  ASSERT_TRUE(newest.ok()) << newest.error().message;
  EXPECT_EQ(*newest->state(), TaskState::kQueued);
  EXPECT_NE(*handles.front().state(), TaskState::kQueued) << "the oldest made room for it";
  EXPECT_EQ(*handles.back().state(), TaskState::kQueued);
}

TEST_F(ClientTest, AThreadThatWasTakenForDeadAttachesAnew) {
  Client client = open();
  ASSERT_TRUE(client.enqueue(note, "x").ok());
  auto segment = shm::Segment::attach("t");
  ASSERT_TRUE(segment.ok());
  int taken = 0;
  for (std::uint32_t i = 0; i < 4; ++i) {
    shm::RosterRow& row = (*segment)->row(i);
    const std::uint64_t status = row.status.load();
    if (shm::row_state(status) != shm::RowState::kLive) continue;
    row.status.store(shm::row_status(shm::row_incarnation(status), shm::RowState::kDead));
    ++taken;
  }
  ASSERT_EQ(taken, 1);
  auto again = client.enqueue(note, "y");
  EXPECT_TRUE(again.ok()) << again.error().message;
  auto many = client.enqueue_many(note, std::vector<std::string>(10, "z"));
  EXPECT_FALSE(many.error);
}

}  // namespace
}  // namespace stem::api_tests
