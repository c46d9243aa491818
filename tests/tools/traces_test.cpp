// Spans made of events, as OTLP/HTTP takes them.
#include "tools/stem/events/traces.hpp"

#include <gtest/gtest.h>

#include "base/clock.hpp"
#include "engine/trace.hpp"
#include "tests/support/attached.hpp"
#include "tests/support/scratch.hpp"

namespace stem::cli {
namespace {

using nlohmann::json;

constexpr const char* kParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

class Traces : public ::testing::Test {
 protected:
  Traces()
      : segment_(test::must_create(test::small_segment(directory_))),
        client_(segment_),
        worker_(segment_, shm::Role::kWorker),
        queue_(test::must_queue(*segment_, "q")),
        task_(test::must_task(*segment_, "t")),
        reader_(*segment_, /*from_now=*/true),
        spans_(*segment_) {
    shm::follow_events(*segment_, now_ + 3'600'000'000'000);
  }

  engine::TaskId enqueue(const std::string& headers, std::uint16_t max_retries = 0) {
    test::Numbered task(queue_, task_, 1);
    engine::TaskExtras extras;
    extras.headers = headers;
    task.spec.extras = &extras;
    task.spec.max_retries = max_retries;
    return client_->enqueue(task.spec, now_).id;
  }
  struct Held {
    engine::Lease lease;
    engine::TaskView view;
  };
  Held start() {
    Held held;
    EXPECT_EQ(worker_->claim(queue_, &held.lease, 1, now_), 1u);
    EXPECT_TRUE(worker_->view(held.lease, held.view));
    EXPECT_EQ(worker_->begin(held.lease, held.view, now_), engine::Begin::kStart);
    return held;
  }
  // What is there to send now.
  json spans() {
    const Moment moment{now_, 1'000'000'000'000'000'000};
    for (const shm::ReadEvent& event : reader_.read()) spans_.add(event, moment);
    const auto request = spans_.take("stem");
    if (request.is_null()) return json::array();
    EXPECT_EQ(request["resourceSpans"][0]["resource"]["attributes"][0]["value"]["stringValue"], "stem");
    return json::parse(request["resourceSpans"][0]["scopeSpans"][0]["spans"].dump());
  }
  static std::string headers() { return std::string(R"({"traceparent":")") + kParent + "\"}"; }

  test::ScratchDirectory directory_;
  std::shared_ptr<shm::Segment> segment_;
  test::Attached client_, worker_;
  std::uint32_t queue_, task_;
  std::int64_t now_ = base::monotonic_ns();
  shm::EventReader reader_;
  TraceSpans spans_;
};

TEST_F(Traces, ATaskIsThreeSpansOfItsTrace) {
  const engine::TaskId id = enqueue(headers());
  now_ += 5'000'000;
  Held held = start();
  now_ += 7'000'000;
  EXPECT_EQ(worker_->succeed(held.lease, held.view, {}, now_), engine::Settled::kDone);
  const json all = spans();
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0]["name"], "enqueue t");
  EXPECT_EQ(all[1]["name"], "wait t");
  EXPECT_EQ(all[2]["name"], "execute t");
  for (const json& span : all) {
    EXPECT_EQ(span["traceId"], "0af7651916cd43dd8448eb211c80319c");
    EXPECT_EQ(span["parentSpanId"], "b7ad6b7169203331");
    EXPECT_FALSE(span.contains("status"));
  }
  const auto ns = [](const json& span, const char* name) { return std::stoll(span[name].get<std::string>()); };
  EXPECT_EQ(ns(all[1], "endTimeUnixNano") - ns(all[1], "startTimeUnixNano"), 5'000'000);
  EXPECT_EQ(ns(all[2], "endTimeUnixNano") - ns(all[2], "startTimeUnixNano"), 7'000'000);
  // A handler's own spans find their parent.
  EXPECT_EQ(engine::child_traceparent(kParent, id, 0).substr(36, 16), all[2]["spanId"].get<std::string>());
  EXPECT_TRUE(spans().empty()) << "each once";
}

TEST_F(Traces, AFailedAttemptIsAnErrorAndTheNextHasASpanOfItsOwn) {
  const engine::TaskId id = enqueue(headers(), 1);
  Held first = start();
  bool retried = false;
  EXPECT_EQ(worker_->fail(first.lease, first.view, {"IOError", "no disk"}, 0, now_, retried), engine::Settled::kDone);
  EXPECT_TRUE(retried);
  Held second = start();
  EXPECT_EQ(worker_->succeed(second.lease, second.view, {}, now_), engine::Settled::kDone);
  const json all = spans();
  ASSERT_EQ(all.size(), 4u) << all.dump(1);
  EXPECT_EQ(all[2]["status"]["code"], 2);
  EXPECT_EQ(all[2]["status"]["message"], "IOError: no disk");
  EXPECT_NE(all[2]["spanId"], all[3]["spanId"]);
  EXPECT_EQ(engine::child_traceparent(kParent, id, 1).substr(36, 16), all[3]["spanId"].get<std::string>());
}

TEST_F(Traces, OnlyTasksThatCarryOne) {
  (void)enqueue(R"({"tenant":"a"})");
  Held held = start();
  EXPECT_EQ(worker_->succeed(held.lease, held.view, {}, now_), engine::Settled::kDone);
  EXPECT_TRUE(spans().empty());
}

}  // namespace
}  // namespace stem::cli
