// A task of the engine becomes an envelope, and the envelope the same task again.
#include "federation/transcript.hpp"

#include <gtest/gtest.h>

#include "base/clock.hpp"
#include "tests/support/attached.hpp"
#include "tests/support/scratch.hpp"

namespace stem::test {
namespace {

TEST(Transcript, ATaskThatHasTravelledIsTheTaskItWas) {
  const ScratchDirectory directory;
  const auto segment = must_create(small_segment(directory));
  const federation::Transcript transcript(*segment);
  const federation::Clocks clocks{base::monotonic_ns(), 1'700'000'000'000'000};
  const std::string_view payload = R"({"n":1})";
  engine::TaskView task;
  task.queue = must_queue(*segment, "q");
  task.task = must_task(*segment, "t");
  task.priority = 4;
  task.max_retries = 7;
  task.enqueued_ns = clocks.now_ns;
  task.payload = std::as_bytes(std::span(payload));
  task.has_extras = true;
  task.extras.headers = R"({"tenant":"a"})";
  task.extras.meta = R"({"mine":[1]})";
  task.extras.idempotency_key = "order-7@2026-01-31T12:00:00.000Z \"quoted\"";
  task.extras.retry_for = "io";
  task.extras.no_retry_for = "money";
  task.extras.soft_limit_ns = 2'000'000'000;
  task.extras.hard_limit_ns = 3'000'000'000;
  task.extras.visibility_ns = 4'000'000'000;
  task.extras.expires_ns = clocks.now_ns + 60'000'000'000;
  federation::Envelope envelope;
  transcript.write(task, false, clocks, envelope);
  EXPECT_EQ(envelope.name, "t");
  EXPECT_EQ(envelope.queue, "q");
  EXPECT_EQ(envelope.args, payload);

  federation::ImportedTask back;
  federation::read(envelope, clocks, back);
  EXPECT_EQ(back.spec.priority, task.priority);
  EXPECT_EQ(back.spec.max_retries, task.max_retries);
  EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(back.spec.payload.data()), back.spec.payload.size()),
            payload);
  EXPECT_EQ(back.extras.headers, task.extras.headers);
  EXPECT_EQ(back.extras.meta, task.extras.meta);
  EXPECT_EQ(back.extras.idempotency_key, task.extras.idempotency_key);
  EXPECT_EQ(back.extras.retry_for, task.extras.retry_for);
  EXPECT_EQ(back.extras.no_retry_for, task.extras.no_retry_for);
  EXPECT_EQ(back.extras.soft_limit_ns, task.extras.soft_limit_ns);
  EXPECT_EQ(back.extras.hard_limit_ns, task.extras.hard_limit_ns);
  EXPECT_EQ(back.extras.visibility_ns, task.extras.visibility_ns);
  EXPECT_EQ(back.extras.expires_ns, task.extras.expires_ns);
}

}  // namespace
}  // namespace stem::test
