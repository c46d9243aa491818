#include "federation/envelope.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/random.hpp"
#include "federation/iso_time.hpp"
#include "federation/json_text.hpp"
#include "tests/federation/fixtures.hpp"

namespace stem::federation {
namespace {

using test::fixture_names;
using test::fixture_text;

std::string json_of(const Envelope& envelope) {
  std::string out;
  append_json(out, envelope.view());
  return out;
}

std::map<std::string, std::string> fields_of(const Envelope& envelope) {
  const EnvelopeView view = envelope.view();
  const StreamFields encoded(view);
  std::map<std::string, std::string> out;
  for (const TextField& field : encoded.fields()) out.emplace(field.name, field.text);
  EXPECT_EQ(out.size(), encoded.fields().size()) << "a field was written twice";
  return out;
}

Envelope through_fields(const Envelope& envelope) {
  const EnvelopeView view = envelope.view();
  const StreamFields encoded(view);
  Envelope back;
  const auto decoded = decode_fields(encoded.fields(), back);
  EXPECT_TRUE(decoded.ok()) << decoded.error().message;
  return back;
}

Envelope through_json(const Envelope& envelope) {
  Envelope back;
  const auto decoded = decode_json(json_of(envelope), back);
  EXPECT_TRUE(decoded.ok()) << decoded.error().message << "\n" << json_of(envelope);
  return back;
}

TEST(EnvelopeFixtures, StreamEntriesComeBackAsTheyCame) {
  for (const std::string& name : fixture_names("stream_")) {
    SCOPED_TRACE(name);
    const auto fields = test::parse_stream_fixture(fixture_text(name));
    Envelope envelope;
    const auto decoded = decode_fields(test::views_of(fields), envelope);
    ASSERT_TRUE(decoded.ok()) << decoded.error().message;
    const auto written = fields_of(envelope);
    for (const auto& [field, text] : fields) {
      ASSERT_TRUE(written.contains(field)) << field;
      if (field == "enqueuedAt" || field == "notBefore") continue;  // one moment has many forms
      EXPECT_EQ(written.at(field), text) << field;
    }
    EXPECT_EQ(through_fields(envelope), envelope);
    EXPECT_EQ(through_json(envelope), envelope);
  }
}

TEST(EnvelopeFixtures, DelayedMembersComeBackAsTheyCame) {
  for (const std::string& name : fixture_names("delayed_")) {
    SCOPED_TRACE(name);
    Envelope envelope;
    const auto decoded = decode_json(fixture_text(name), envelope);
    ASSERT_TRUE(decoded.ok()) << decoded.error().message;
    EXPECT_EQ(through_json(envelope), envelope);
  }
}

// What the Dart side wrote in its own form we write byte for byte the same.
TEST(EnvelopeFixtures, OurJsonIsTheirs) {
  for (const std::string name : {"delayed_full.json", "delayed_nulls.json"}) {
    std::string text = fixture_text(name);
    text.pop_back();  // the line's end
    Envelope envelope;
    ASSERT_TRUE(decode_json(text, envelope).ok());
    EXPECT_EQ(json_of(envelope), text);
  }
}

TEST(EnvelopeFixtures, ThePoisonedAreRefusedWithAReason) {
  for (const std::string& name : fixture_names("poison_")) {
    SCOPED_TRACE(name);
    const auto poison = test::parse_poison(fixture_text(name));
    Envelope envelope;
    const auto fields = test::parse_stream_fixture(poison.text);
    const auto decoded =
        name.ends_with(".json") ? decode_json(poison.text, envelope) : decode_fields(test::views_of(fields), envelope);
    ASSERT_FALSE(decoded.ok());
    EXPECT_EQ(decoded.error().code, Errc::kInvalidArgument);
    EXPECT_NE(decoded.error().message.find(poison.why), std::string::npos) << decoded.error().message;
    EXPECT_EQ(decoded.error().message.find('\n'), std::string::npos);
  }
}

Envelope stream_fixture(const std::string& name) {
  const auto fields = test::parse_stream_fixture(fixture_text(name));
  Envelope envelope;
  const auto decoded = decode_fields(test::views_of(fields), envelope);
  EXPECT_TRUE(decoded.ok()) << decoded.error().message;
  return envelope;
}

TEST(Envelope, TakesTheDefaultsForWhatIsMissing) {
  for (const char* name : {"stream_minimal.txt", "stream_empty_optionals.txt"}) {
    const Envelope envelope = stream_fixture(name);
    EXPECT_EQ(envelope.args, "{}");
    EXPECT_EQ(envelope.headers, "{}");
    EXPECT_EQ(envelope.meta, "{}");
    EXPECT_EQ(envelope.queue, "default");
    EXPECT_EQ(envelope.priority, 0);
    EXPECT_EQ(envelope.attempt, 0);
    EXPECT_FALSE(envelope.not_before_us);
    EXPECT_FALSE(envelope.visibility_timeout_ms);
    EXPECT_FALSE(envelope.payload);
  }
  EXPECT_EQ(stream_fixture("stream_minimal.txt").max_retries, 3);
  EXPECT_EQ(stream_fixture("stream_empty_optionals.txt").max_retries, 0);
}

TEST(Envelope, ReadsEveryField) {
  const Envelope envelope = stream_fixture("stream_full.txt");
  EXPECT_EQ(envelope.id, "0192f0c1-7b1e-7c3a-9f52-3d6a1b2c4d5e");
  EXPECT_EQ(envelope.name, "billing.invoice.render");
  EXPECT_NE(envelope.args.find("123456789012345678901234567890"), std::string::npos);
  EXPECT_EQ(iso_time(envelope.enqueued_at_us), "2026-03-29T01:59:59.123456Z");
  EXPECT_EQ(iso_time(*envelope.not_before_us), "2026-03-29T02:30:00.000Z");
  EXPECT_EQ(envelope.priority, 7);
  EXPECT_EQ(envelope.attempt, 2);
  EXPECT_EQ(envelope.max_retries, 5);
  EXPECT_EQ(envelope.visibility_timeout_ms, 90'000);
  EXPECT_EQ(envelope.queue, "billing");
}

TEST(Envelope, WritesTheFieldsInTheirOrder) {
  Envelope envelope = stream_fixture("stream_payload.txt");
  const EnvelopeView view = envelope.view();
  const StreamFields encoded(view);
  const std::vector<std::string_view> expected{"id",        "name",     "args",    "headers",    "enqueuedAt",
                                               "notBefore", "priority", "attempt", "maxRetries", "visibilityTimeout",
                                               "queue",     "meta",     "payload"};
  std::vector<std::string_view> names;
  for (const TextField& field : encoded.fields()) names.push_back(field.name);
  EXPECT_EQ(names, expected);
  std::vector<std::string_view> argv{"XADD", "key", "*"};
  encoded.append_to(argv);
  ASSERT_EQ(argv.size(), 3 + 2 * expected.size());
  EXPECT_EQ(argv[3], "id");
  EXPECT_EQ(argv[4], envelope.id);
  EXPECT_EQ(argv.back(), *envelope.payload);
}

TEST(Envelope, ReadsObjectsThatStandAsText) {
  Envelope envelope;
  ASSERT_TRUE(decode_json(fixture_text("delayed_text_objects.json"), envelope).ok());
  EXPECT_EQ(envelope.args, R"({"to":"a@example.org"})");
  EXPECT_EQ(envelope.priority, 3);
  EXPECT_EQ(envelope.attempt, 1);
  EXPECT_EQ(envelope.max_retries, 4);
}

TEST(Envelope, OfTwoMembersOfOneNameTheLastCounts) {
  Envelope envelope;
  ASSERT_TRUE(decode_json(R"({"id":"a","id":"b","name":"n","x":1,"name":"m"})", envelope).ok());
  EXPECT_EQ(envelope.id, "b");
  EXPECT_EQ(envelope.name, "m");
  ASSERT_EQ(envelope.foreign.size(), 1u);
}

TEST(Envelope, MemoryIsUsedAgainAndNothingOfTheLastOneStays) {
  Envelope envelope = stream_fixture("stream_payload.txt");
  envelope.foreign.push_back({"x", "y", false});
  const auto fields = test::parse_stream_fixture(fixture_text("stream_minimal.txt"));
  ASSERT_TRUE(decode_fields(test::views_of(fields), envelope).ok());
  EXPECT_EQ(envelope, stream_fixture("stream_minimal.txt"));
}

TEST(Envelope, DeepNestingIsJustText) {
  const std::size_t depth = 100'000;
  const std::string args = "{\"a\":" + std::string(depth, '[') + std::string(depth, ']') + "}";
  Envelope envelope;
  const std::string text = R"({"id":"x","name":"n","args":)" + args + "}";
  ASSERT_TRUE(decode_json(text, envelope).ok());
  EXPECT_TRUE(envelope.args == args);
}

// Envelopes made by chance: any text, any bytes, any numbers.
class Chance {
 public:
  explicit Chance(std::uint64_t seed) : random_(seed) {}

  std::uint64_t below(std::uint64_t bound) { return random_.below(bound); }
  std::string bytes(std::size_t most) {
    std::string out(below(most + 1), '\0');
    for (char& c : out) c = static_cast<char>(random_.next());
    return out;
  }
  std::string text(std::size_t most) {
    static const std::vector<std::string> kPieces{"a",  "Z",    "0", " ",  "\"",     "\\",
                                                  "\n", "\x01", "é", "世", "🌍",      "{",
                                                  "}",  ",",    ":", "[",  "\u2028", std::string(1, '\0')};
    std::string out;
    for (std::uint64_t left = below(most + 1); left > 0; --left) out += kPieces[below(kPieces.size())];
    return out;
  }
  nlohmann::ordered_json value(int depth) {
    switch (below(depth > 0 ? 8 : 6)) {
      case 0: return nullptr;
      case 1: return below(2) == 0;
      case 2: return static_cast<std::int64_t>(random_.next());
      case 3: return random_.next();
      case 4: return static_cast<double>(below(1'000'000)) / 64.0;
      case 5: return text(12);
      case 6: {
        auto list = nlohmann::ordered_json::array();
        for (std::uint64_t n = below(4); n > 0; --n) list.push_back(value(depth - 1));
        return list;
      }
      default: return object(depth - 1);
    }
  }
  nlohmann::ordered_json object(int depth) {
    auto made = nlohmann::ordered_json::object();
    for (std::uint64_t n = below(4); n > 0; --n) made[text(6)] = value(depth);
    return made;
  }
  std::string object_text() { return below(3) == 0 ? "{}" : object(3).dump(below(4) == 0 ? 2 : -1); }
  std::int64_t time_us() { return static_cast<std::int64_t>(below(8'000'000'000'000'000)) - 3'000'000'000'000'000; }
  std::int64_t count() { return static_cast<std::int64_t>(random_.next() >> (1 + below(63))); }

  Envelope envelope() {
    Envelope e;
    e.id = "i" + text(20);
    e.name = "n" + text(20);
    e.args = object_text();
    e.headers = object_text();
    e.enqueued_at_us = time_us();
    if (below(2) == 0) e.not_before_us = time_us();
    e.priority = static_cast<std::int64_t>(below(14)) - 2;
    e.attempt = count();
    e.max_retries = count();
    if (below(2) == 0) e.visibility_timeout_ms = count();
    e.queue = "q" + text(10);
    e.meta = object_text();
    if (below(3) == 0) e.payload = bytes(64);
    for (std::uint64_t n = below(3); n > 0; --n) {
      e.foreign.push_back({"foreign-" + std::to_string(n) + text(4), below(2) == 0 ? bytes(16) : text(16), false});
    }
    if (below(8) == 0) e.foreign.push_back({"base64", bytes(8), false});
    return e;
  }

 private:
  base::Random random_;
};

// In JSON what is not text is moved to the end.
void sort_foreign(Envelope& envelope) {
  std::sort(envelope.foreign.begin(), envelope.foreign.end(),
            [](const ForeignField& a, const ForeignField& b) { return a.name < b.name; });
}

TEST(EnvelopeByChance, ComesBackThroughFieldsAndThroughJson) {
  constexpr std::uint64_t kSeed = 20260131;
  Chance chance(kSeed);
  for (int round = 0; round < 20'000; ++round) {
    Envelope envelope = chance.envelope();
    ASSERT_EQ(through_fields(envelope), envelope) << "seed " << kSeed << ", round " << round;
    const std::string json = json_of(envelope);
    ASSERT_TRUE(is_json_object(json)) << "seed " << kSeed << ", round " << round << "\n" << json;
    Envelope back = through_json(envelope);
    sort_foreign(back);
    sort_foreign(envelope);
    ASSERT_EQ(back, envelope) << "seed " << kSeed << ", round " << round << "\n" << json;
  }
}

// Right texts with a few bytes changed: refused or read, never a crash, and what is read can be written and read again.
TEST(EnvelopeByChance, DamagedJsonIsRefusedOrMeansSomething) {
  constexpr std::uint64_t kSeed = 7;
  Chance chance(kSeed);
  int refused = 0;
  for (int round = 0; round < 30'000; ++round) {
    std::string text = json_of(chance.envelope());
    for (std::uint64_t n = 1 + chance.below(3); n > 0; --n) {
      const std::size_t at = chance.below(text.size());
      switch (chance.below(4)) {
        case 0: text[at] = static_cast<char>(chance.below(256)); break;
        case 1: text.erase(at, 1 + chance.below(8)); break;
        case 2: text.insert(at, 1, "\"{}[],:\\0e-"[chance.below(11)]); break;
        default: text.resize(at + 1); break;
      }
    }
    Envelope envelope;
    if (!decode_json(text, envelope).ok()) {
      ++refused;
      continue;
    }
    Envelope back;
    ASSERT_TRUE(decode_json(json_of(envelope), back).ok()) << "seed " << kSeed << ", round " << round << "\n" << text;
    sort_foreign(back);
    sort_foreign(envelope);
    ASSERT_EQ(back, envelope) << "seed " << kSeed << ", round " << round << "\n" << text;
  }
  EXPECT_GT(refused, 10'000);
}

}  // namespace
}  // namespace stem::federation
