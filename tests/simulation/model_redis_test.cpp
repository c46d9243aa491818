// The model answers as a real Redis does: both are asked the same, at random, and say the same. Entry ids are named in
// the order in which they first come up, and idle times only as short or long.
#include "tests/simulation/model_redis.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <set>

#include "base/random.hpp"
#include "federation/limit_scripts.hpp"
#include "federation/redis_connection.hpp"
#include "federation/scripts.hpp"
#include "io/loop.hpp"
#include "tests/support/redis_server.hpp"

namespace stem::simulation {
namespace {

using federation::Reply;
using Argv = std::vector<std::string>;

constexpr std::int64_t kLongIdleMs = 100'000;

// The server, asked one thing after the other.
class RealRedis {
 public:
  RealRedis() : loop_(*io::Loop::create()) {
    federation::RedisOptions options;
    options.url = *federation::parse_redis_url(server_.url());
    options.quiet = true;
    redis_ = std::make_unique<federation::RedisConnection>(*loop_, std::move(options), federation::RedisEvents{});
    redis_->start();
    while (!redis_->is_ready()) (void)loop_->run_once(10'000'000);
  }
  OwnedReply ask(const Argv& argv) {
    const std::vector<std::string_view> words(argv.begin(), argv.end());
    std::optional<OwnedReply> answer;
    EXPECT_EQ(redis_->command(std::span(words), [&answer](const Reply& reply) { answer.emplace(reply); }),
              federation::Queued::kYes);
    while (!answer) (void)loop_->run_once(10'000'000);
    return *answer;
  }

 private:
  test::RedisServer server_;
  std::unique_ptr<io::Loop> loop_;
  std::unique_ptr<federation::RedisConnection> redis_;
};

// One side's entry ids, named by their order.
class Names {
 public:
  std::string of(const std::string& text) {
    const std::size_t open = text.starts_with('(') ? 1 : 0;
    const auto id = EntryId::parse(text.substr(open), 0);
    if (!id || id->ms < 1'000'000'000'000 || id->ms > 10'000'000'000'000 || text.find('-') == text.npos) return text;
    for (std::size_t i = 0; i < ids_.size(); ++i)
      if (ids_[i] == text.substr(open)) return fmt::format("{}#{}", text.substr(0, open), i);
    ids_.push_back(text.substr(open));
    return fmt::format("{}#{}", text.substr(0, open), ids_.size() - 1);
  }
  // "#3" as this side knows it.
  std::string real(const std::string& word) const {
    const std::size_t at = word.find('#');
    if (at > 1 || word.size() < at + 2) return word;
    return word.substr(0, at) + ids_[std::stoul(word.substr(at + 1))];
  }
  std::size_t count() const { return ids_.size(); }

 private:
  std::vector<std::string> ids_;
};

std::string shown(const OwnedReply& reply, Names& names) {
  switch (reply.kind) {
    case Reply::Kind::kNil: return "nil";
    case Reply::Kind::kInteger: return fmt::to_string(reply.integer);
    case Reply::Kind::kStatus: return '+' + reply.text;
    case Reply::Kind::kString: return '"' + names.of(reply.text) + '"';
    case Reply::Kind::kError: return '-' + reply.text.substr(0, reply.text.find(" script: "));
    case Reply::Kind::kArray: break;
  }
  // Of XPENDING: entry, consumer, idle, deliveries.
  const auto& e = reply.elements;
  if (e.size() == 4 && e[2].kind == Reply::Kind::kInteger && e[3].kind == Reply::Kind::kInteger)
    return fmt::format("[{} {} {} {}]", shown(e[0], names), e[1].text, e[2].integer >= kLongIdleMs ? "long" : "short",
                       e[3].integer);
  // Of XINFO the model tells what is asked for.
  for (std::size_t i = 0; i + 1 < e.size(); ++i)
    if (e[i].text == "last-generated-id") return "last " + shown(e[i + 1], names);
  std::string text = "[";
  for (const OwnedReply& one : e) text += shown(one, names) + ' ';
  return text + ']';
}

class CommandMaker {
 public:
  CommandMaker(std::uint64_t seed, const Names& names) : random_(seed), names_(names) {}

  Argv next() {
    using namespace federation;
    switch (random_.below(47)) {
      case 0:
      case 1:
      case 2:
      case 3: return {"XADD", stream(), "*", "id", task(), "name", "t"};
      case 4: return {"XADD", stream(), "5-1", "id", task()};
      case 5: return {"XGROUP", "CREATE", stream(), group(), one_of({"0", "$"}), "MKSTREAM"};
      case 6: return {"XGROUP", "CREATE", any(), group(), "0"};
      case 7:
      case 8: return {"XREADGROUP", "GROUP", group(), consumer(), "COUNT", count(), "STREAMS", "s1", "s2", ">", ">"};
      case 9: return {"XREADGROUP", "GROUP", group(), consumer(), "STREAMS", stream(), one_of({">", "0", id()})};
      case 10: return {"XACK", any(), group(), id()};
      case 11: return {"XDEL", any(), id(), id()};
      case 12: return {"XPENDING", any(), group()};
      case 13: return {"XPENDING", stream(), group(), "-", "+", count(), consumer()};
      case 14: return {"XPENDING", stream(), group(), "IDLE", "100000", one_of({"-", id(), '(' + id()}), "+", count()};
      case 15: return {"XPENDING", stream(), group(), id(), id(), "1"};
      case 16: return {"XCLAIM", stream(), group(), consumer(), one_of({"0", "100000"}), id(), id()};
      case 17: return {"XCLAIM", stream(), group(), consumer(), "0", id(), "IDLE", "200000", "JUSTID"};
      case 18:
        return {"XRANGE", any(), one_of({"-", id(), '(' + id()}), one_of({"+", id(), '(' + id()}), "COUNT", count()};
      case 19: return {"ZADD", "z", one_of({"1", "9000000000000000"}), member()};
      case 20: return {"EVAL", std::string(kDueScript), "1", one_of({"z", "s1"})};
      case 21: return {"EVAL", std::string(kPromoteScript), "2", "z", one_of({"s1", "d"}), member(), "id", task()};
      case 22: return {"EVAL", std::string(kBuryMemberScript), "2", "z", one_of({"d", "s2"}), member(), "letter"};
      case 23:
        return {"EVAL",
                std::string(kSettleScript),
                "3",
                any(),
                one_of({"d", "s1"}),
                result(),
                group(),
                consumer(),
                id(),
                "{}",
                "100000",
                "some",
                one_of({"", "letter"})};
      case 24:
        return {"EVAL",
                std::string(kSettleManyScript),
                "4",
                any(),
                one_of({"e", "d"}),
                result(),
                result(),
                group(),
                "100000",
                one_of({"", "marks"}),
                one_of({"", id()}),
                "3",
                id(),
                id(),
                id(),
                "a",
                "100000",
                "b",
                "100000"};
      case 31: return {"EVAL", std::string(kHaveResultScript), "3", result(), result(), one_of({"s1", "d"})};
      case 44:  // of one that is pending and the first, all before the next go
        return {"EVAL", std::string(kSettleManyScript), "2", stream(), "e", group(), "100000", "", id(), "1", id()};
      case 45: return {"XTRIM", any(), "MINID", id()};
      case 46:
        return {"EVAL", std::string(kEndedScript), "1", random_.below(2) == 0 ? "e" : any(), one_of({"-", '(' + id()})};
      case 25: return {"EVAL", std::string(kReturnScript), "1", any(), group(), consumer(), id()};
      case 26: return {"EVAL", std::string(kRenewScript), "1", any(), group(), consumer(), id()};
      case 27: return {"EVAL", std::string(kReadBackScript), "1", any(), one_of({"-", '(' + id()})};
      case 28:
        return {"EVAL",
                std::string(kResultsScript),
                "3",
                result(),
                result(),
                "s1",
                one_of({"1", "1000"}),
                one_of({"1", "9"})};
      case 29: return values();
      case 30: return {"XLEN", random_.below(4) == 0 ? "e" : any()};
      case 37: return {"EVAL", std::string(kRenewManyScript), "1", any(), group(), consumer(), id(), id()};
      case 38: return {"EVAL", std::string(kDropSecondScript), "2", any(), any(), group(), consumer(), id(), id()};
      case 32: return {"XINFO", "STREAM", any()};
      case 33: return {"EVAL", std::string(kLookScript), "1", any(), id(), one_of({"100000", "300"})};
      case 34:
        return {"XADD", stream(), "*", "visibilityTimeout", one_of({"5000", std::string(21, '1')}), "id", task()};
      case 35:
        return {"EVAL", std::string(kGoneScript), "4", stream(), result(), any(), result(), id(), one_of({"", id()})};
      case 36:
        return {"EVAL",
                std::string(kRefuseMemberScript),
                "3",
                "z",
                one_of({"d", "s2"}),
                result(),
                member(),
                "letter",
                "{}",
                "100000"};
      case 39:
        return {"EVAL",
                std::string(kAddUniqueScript),
                "2",
                stream(),
                one_of({"u", "u", "d"}),
                one_of({"a", "b"}),
                "100000",
                "id",
                task()};
      case 42:
      case 43:  // in one turn: the two clocks are not one
        return {"EVAL",
                std::string(kTakePlacesScript),
                "1",
                one_of({"p", "p", "p", "d"}),
                consumer(),
                one_of({"0", "1"}),
                one_of({"0", "1", "2", "4"}),
                one_of({"1", "3"}),
                "100000",
                "900000000000000"};
      case 40:
      case 41:
        return {"EVAL",
                std::string(kSettleScript),
                "4",
                stream(),
                "d",
                result(),
                one_of({"u", "u", "d"}),
                group(),
                consumer(),
                id(),
                "{}",
                "100000",
                one_of({"a", "b"}),
                ""};
      default: return random_.below(25) == 0 ? Argv{"FLUSHALL"} : Argv{"EXISTS", result()};
    }
  }

 private:
  Argv values() {
    switch (random_.below(9)) {
      case 7: return {"HSET", "p", "c", one_of({"1 2 3", "x", "2 2 9000000000000000"})};
      case 0: return {"SET", result(), "text", "PX", "100000"};
      case 1: return {"GET", any()};
      case 2: return {"DEL", result()};
      case 3: return {"LPUSH", one_of({"d", "s1"}), "letter"};
      case 4: return {"LRANGE", one_of({"d", "z"}), one_of({"0", "-2"}), "-1"};
      case 5: return {"ZSCORE", "z", member()};
      case 6: return {"ZREM", one_of({"z", "d"}), member()};
      default: return random_.below(2) == 0 ? Argv{"HSET", "h", "f", task()} : Argv{"HGET", one_of({"h", "d"}), "f"};
    }
  }
  std::string one_of(std::vector<std::string> words) { return words[random_.below(words.size())]; }
  std::string stream() { return one_of({"s1", "s2"}); }
  std::string any() { return one_of({"s1", "s2", "s1", "s2", "nothing", "z", "d"}); }
  std::string group() { return random_.below(12) == 0 ? "other" : "g"; }
  std::string consumer() { return one_of({"a", "b"}); }
  std::string task() { return fmt::format("task-{}", random_.below(50)); }
  std::string member() { return fmt::format("member-{}", random_.below(6)); }
  std::string result() { return fmt::format("r{}", random_.below(4)); }
  std::string count() { return fmt::to_string(1 + random_.below(4)); }
  std::string id() {
    if (names_.count() == 0 || random_.below(15) == 0) return "7-7";
    const std::size_t recent = std::min<std::size_t>(names_.count(), 12);
    return fmt::format("#{}", names_.count() - 1 - random_.below(recent));
  }

  base::Random random_;
  const Names& names_;
};

std::int64_t wall_us() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// Redis names entries by the millisecond. In two streams they must not have the same name, or ours for them differ.
void next_millisecond() {
  const std::int64_t now_ms = wall_us() / 1000;
  while (wall_us() / 1000 == now_ms) {
  }
}

bool may_add(const Argv& command) {
  return command[0] == "XADD" ||
         (command.size() > 1 &&
          (command[1] == federation::kPromoteScript || command[1] == federation::kReturnScript ||
           command[1] == federation::kSettleManyScript || command[1] == federation::kAddUniqueScript));
}

// One command to both; true when they said the same.
struct Both {
  RealRedis real;
  ModelRedis model;
  Names real_names, model_names;
  std::string expected;

  ::testing::AssertionResult same(const Argv& command) {
    Argv to_real, to_model;
    for (const std::string& word : command) {
      to_real.push_back(real_names.real(word));
      to_model.push_back(model_names.real(word));
    }
    if (may_add(command)) next_millisecond();
    expected = shown(real.ask(to_real), real_names);
    const std::vector<std::string_view> words(to_model.begin(), to_model.end());
    const std::string said = shown(model.execute(words, wall_us()), model_names);
    if (said == expected) return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure() << fmt::format("{}\nthe model:   {}\na real one: {}", fmt::join(command, " "),
                                                        said, expected);
  }
};

TEST(ModelRedisTest, AnswersAsARealOneDoes) {
  Both both;
  CommandMaker maker(1, both.model_names);
  std::set<std::string> answers;
  for (int i = 0; i < 12'000; ++i) {
    const Argv command = maker.next();
    ASSERT_TRUE(both.same(command)) << "command " << i;
    const char* kind = both.expected[0] == '-'                                             ? "error"
                       : both.expected.find_first_of("123456789+\"") == both.expected.npos ? "nothing"
                                                                                           : "something";
    answers.insert(fmt::format("{} {}", command[0] == "EVAL" ? command[1].substr(0, 200) : command[0], kind));
  }
  // Nearly every command and script was refused, found nothing and did its work: otherwise little was compared.
  EXPECT_GE(answers.size(), 71u);
}

// Entries that a read brought next to each other end: they go as the beginning of their stream, with nobody else's.
TEST(ModelRedisTest, EndedEntriesTakeNoOthersWithThem) {
  Both both;
  const auto say = [&both](Argv command) {
    EXPECT_TRUE(both.same(command));
    return both.expected;
  };
  const auto settle = [&say](std::vector<std::string> entries, const std::string& behind) {
    Argv command{"EVAL", std::string(federation::kSettleManyScript), "2", "s1", "e", "g", "100000", "marks", behind};
    command.push_back(fmt::to_string(entries.size()));
    command.insert(command.end(), entries.begin(), entries.end());
    (void)say(command);
  };
  const auto left = [&say] {
    std::string ids;
    const std::string all = say({"XRANGE", "s1", "-", "+"});
    for (std::size_t at = all.find('#'); at != all.npos; at = all.find('#', at + 1)) ids += all[at + 1];
    return ids;
  };
  (void)say({"XGROUP", "CREATE", "s1", "g", "0", "MKSTREAM"});
  for (int i = 0; i < 9; ++i) (void)say({"XADD", "s1", "*", "id", "t"});
  for (const char* consumer : {"a", "b", "a"})  // #0 #1, #2 #3, #4 #5
    (void)say({"XREADGROUP", "GROUP", "g", consumer, "COUNT", "2", "STREAMS", "s1", ">"});
  settle({"#2", "#3"}, "#4");
  EXPECT_EQ(left(), "0145678") << "others are before them";
  settle({"#0", "#1"}, "#2");
  EXPECT_EQ(left(), "45678");
  settle({"#4", "#3"}, "#7");
  EXPECT_EQ(left(), "5678") << "one of them was not pending any more";
  settle({"#5"}, "#6");
  EXPECT_EQ(left(), "678");
  settle({"#6"}, "#8");
  EXPECT_EQ(left(), "78") << "it was nobody's: it goes alone";
}

// The same, beyond maxmemory: what is refused, and what a script had done by then.
TEST(ModelRedisTest, RefusesAsARealOneDoesWhenItIsFull) {
  Both both;
  CommandMaker maker(99, both.model_names);
  int refused = 0;
  for (int i = 0; i < 4000; ++i) {
    if (i % 100 == 0) {
      const bool full = i / 100 % 2 == 1;
      (void)both.real.ask({"CONFIG", "SET", "maxmemory", full ? "1" : "0"});
      both.model.set_full(full);
    }
    ASSERT_TRUE(both.same(maker.next())) << "command " << i;
    refused += both.expected.starts_with("-OOM");
  }
  EXPECT_GT(refused, 100);
}

}  // namespace
}  // namespace stem::simulation
