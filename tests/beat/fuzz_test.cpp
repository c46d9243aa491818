// Random bytes and mutated good specs: never a crash, never for ever, and whatever is taken has a next time that
// is strictly later. The seed is printed, and taken from STEM_TEST_SEED.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <random>

#include "tests/beat/times.hpp"

namespace stem::beat {
namespace {

const std::vector<std::string> kGood{
    "every:20ms",
    "every:7d",
    "*/5 * * * *",
    "0 0 L * *",
    "15 30 2 29 FEB SUN#5",
    "30 2 13 * FRI-SUN,1L",
    R"({"kind":"interval","every":"15m","startAt":"2026-01-01T00:00:00Z","endAt":"2027-01-01T00:00:00Z"})",
    R"({"kind":"solar","event":"sunrise","latitude":69.6,"longitude":-170.5,"offset":"-15m"})",
    R"({"kind":"calendar","months":[1,"FEB"],"weekdays":["MON"],"hours":[2],"minutes":[30]})",
    R"({"kind":"clocked","runAt":"2026-05-01T10:00:00+02:00","runOnce":true})",
    R"({"kind":"cron","expression":"0 1-5/2 * * MON#1"})",
};

class Mutator {
 public:
  explicit Mutator(std::uint64_t seed) : random_(seed) {}
  std::uint64_t below(std::uint64_t bound) {
    return std::uniform_int_distribution<std::uint64_t>(0, bound - 1)(random_);
  }

  std::string noise() {
    std::string text(below(40), '\0');
    for (char& c : text) c = static_cast<char>(below(4) == 0 ? below(256) : "0123456789*/,-#L :.TZ{}[]\""[below(26)]);
    return text;
  }
  std::string mutated(std::string text) {
    for (std::uint64_t changes = 1 + below(2); changes > 0; --changes) {
      const std::size_t where = text.empty() ? 0 : below(text.size());
      switch (below(5)) {
        case 0: text.insert(where, 1, "0123456789*/,-#LZ \x80\xff\n"[below(20)]); break;
        case 1: text = text.substr(0, where) + (text.empty() ? "" : text.substr(where + 1)); break;
        case 2:
          if (!text.empty()) text[where] = static_cast<char>(below(256));
          break;
        case 3: text.insert(where, std::to_string(below(2) == 0 ? below(100) : below(1ull << 62))); break;
        default: text += text.substr(where); break;
      }
    }
    return text;
  }

 private:
  std::mt19937_64 random_;
};

std::uint64_t seed() {
  const char* given = std::getenv("STEM_TEST_SEED");
  const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  std::printf("STEM_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

Result<Spec> parse_any(const std::string& text, const Zone& zone) {
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  return json.is_object() ? Spec::parse(json, zone) : Spec::parse_text(text);
}

TEST(SpecFuzz, WhateverIsTakenMovesOn) {
  Mutator random(seed());
  const std::vector<Zone> zones{Zone(), test::zone("Europe/Berlin"), test::zone("Australia/Lord_Howe"),
                                test::zone("America/New_York")};
  int taken = 0;
  const auto began = std::chrono::steady_clock::now();
  for (int i = 0; i < 200'000; ++i) {
    const std::string text = random.below(3) == 0 ? random.noise() : random.mutated(kGood[random.below(kGood.size())]);
    const Zone& zone = zones[random.below(zones.size())];
    const auto parsed = parse_any(text, zone);
    if (!parsed.ok()) {
      ASSERT_FALSE(parsed.error().message.empty()) << text;
      continue;
    }
    ++taken;
    std::int64_t now = random.below(8) == 0 ? static_cast<std::int64_t>(random.below(~0ull))
                                            : static_cast<std::int64_t>(random.below(4'102'444'800ull)) * kSecondNs;
    for (int look = 0; look < 3; ++look) {
      const auto next = parsed->next(now, now - 1, zone);
      if (!next) break;
      ASSERT_GT(*next, now) << text;
      now = *next;
    }
  }
  EXPECT_GT(taken, 1000) << "the mutations are too wild to show anything";
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(100));
}

TEST(ZoneFuzz, NamesAreRefusedOrKnown) {
  Mutator random(seed());
  for (int i = 0; i < 3000; ++i) {
    const auto found = Zone::find(random.mutated("Europe/Berlin"));
    if (found.ok()) (void)found->to_local(0);
  }
}

}  // namespace
}  // namespace stem::beat
