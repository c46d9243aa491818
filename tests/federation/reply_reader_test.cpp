#include "federation/reply_reader.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/random.hpp"
#include "federation/pipeline.hpp"

namespace stem::federation {
namespace {

// A reply as RESP again, which is enough to compare it.
std::string written(const Reply& reply) {
  switch (reply.kind) {
    case Reply::Kind::kNil: return "$-1\r\n";
    case Reply::Kind::kInteger: return ":" + std::to_string(reply.integer) + "\r\n";
    case Reply::Kind::kStatus: return "+" + std::string(reply.text) + "\r\n";
    case Reply::Kind::kError: return "-" + std::string(reply.text) + "\r\n";
    case Reply::Kind::kString:
      return "$" + std::to_string(reply.text.size()) + "\r\n" + std::string(reply.text) + "\r\n";
    case Reply::Kind::kArray: break;
  }
  std::string out = "*" + std::to_string(reply.elements.size()) + "\r\n";
  for (const Reply& element : reply.elements) out += written(element);
  return out;
}

std::string any_reply(base::Random& random, int depth) {
  switch (random.below(depth > 0 ? 7 : 5)) {
    case 0: return "$-1\r\n";
    case 1: return ":" + std::to_string(static_cast<std::int64_t>(random.next())) + "\r\n";
    case 2: return "+OK\r\n";
    case 3: return "-NOGROUP no such group\r\n";
    case 4: {
      std::string bytes(random.below(random.below(8) == 0 ? 40'000 : 40), '\0');
      for (char& c : bytes) c = static_cast<char>(random.next());
      return "$" + std::to_string(bytes.size()) + "\r\n" + bytes + "\r\n";
    }
    default: {
      const std::uint64_t count = random.below(6);
      std::string out = "*" + std::to_string(count) + "\r\n";
      for (std::uint64_t i = 0; i < count; ++i) out += any_reply(random, depth - 1);
      return out;
    }
  }
}

TEST(ReplyReader, ReadsWhateverTheSizesOfThePieces) {
  constexpr std::uint64_t kSeed = 11;
  base::Random random(kSeed);
  for (int round = 0; round < 300; ++round) {
    std::string sent;
    for (int i = 0; i < 20; ++i) sent += any_reply(random, 4);
    ReplyReader reader(1 << 20);
    std::string read;
    for (std::size_t at = 0; at < sent.size();) {
      const std::size_t piece = 1 + random.below(random.below(2) == 0 ? 3 : 20'000);
      ASSERT_TRUE(reader.read(std::string_view(sent).substr(at, piece), [&](const Reply& reply) {
        read += written(reply);
        return true;
      })) << reader.fault();
      at += piece;
    }
    ASSERT_TRUE(read == sent) << "seed " << kSeed << ", round " << round;
  }
}

TEST(ReplyReader, ErrorsAreClassifiedAlsoInsideArrays) {
  ReplyReader reader(1 << 20);
  std::vector<RedisError> errors;
  ASSERT_TRUE(reader.read("*3\r\n+OK\r\n-READONLY You can't\r\n-weird\r\n-NOSCRIPT x\r\n", [&](const Reply& reply) {
    for (const Reply& element : reply.elements) errors.push_back(element.error);
    if (reply.is_error()) errors.push_back(reply.error);
    return true;
  }));
  EXPECT_EQ(errors, (std::vector<RedisError>{RedisError::kNone, RedisError::kReadOnly, RedisError::kOther,
                                             RedisError::kNoScript}));
}

TEST(ReplyReader, StopsWhenItIsTold) {
  ReplyReader reader(1 << 20);
  int taken = 0;
  EXPECT_TRUE(reader.read(":1\r\n:2\r\n:3\r\n", [&](const Reply&) { return ++taken < 2; }));
  EXPECT_EQ(taken, 2);
}

// Damaged bytes are read or refused, never more.
TEST(ReplyReader, SurvivesDamage) {
  constexpr std::uint64_t kSeed = 12;
  base::Random random(kSeed);
  int refused = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string sent = any_reply(random, 3) + any_reply(random, 3);
    for (std::uint64_t n = 1 + random.below(4); n > 0; --n) {
      const std::size_t at = random.below(sent.size());
      if (random.below(2) == 0) {
        sent[at] = "$*:+-019\r\nx"[random.below(11)];
      } else {
        sent.insert(at, "9");
      }
    }
    ReplyReader reader(64 * 1024);
    if (!reader.read(sent, [](const Reply& reply) { return !written(reply).empty(); })) {
      ++refused;
      EXPECT_FALSE(reader.fault().empty());
    }
  }
  EXPECT_GT(refused, 1'000);
}

TEST(Pipeline, WritesRespAndEndsInOrder) {
  Pipeline pipeline;
  std::string out;
  std::vector<RedisError> ended;
  const auto note = [&](const Reply& reply) { ended.push_back(reply.error); };
  const std::vector<std::string_view> ping{"PING"};
  const std::vector<std::string_view> set{"SET", "", std::string_view("a\r\n\0b", 5)};
  pipeline.push(out, ping, note, 0);
  const std::uint64_t first = pipeline.pushed_bytes();
  pipeline.push(out, set, note, 9);
  EXPECT_EQ(out, std::string("*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$0\r\n\r\n$5\r\na\r\n\0b\r\n", 44));
  EXPECT_EQ(pipeline.bytes(), out.size());
  pipeline.push(out, ping, nullptr, 0);
  pipeline.pop();
  EXPECT_EQ(pipeline.block_ns(), 9);
  EXPECT_EQ(pipeline.bytes(), out.size() - first);
  pipeline.push(out, ping, note, 0);
  pipeline.abandon(pipeline.pushed_bytes() - 1, "gone");
  EXPECT_EQ(ended, (std::vector<RedisError>{RedisError::kLost, RedisError::kNotSent}));
  EXPECT_TRUE(pipeline.empty());
  EXPECT_EQ(pipeline.bytes(), 0u);
}

}  // namespace
}  // namespace stem::federation
