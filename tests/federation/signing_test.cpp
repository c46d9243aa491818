// Signatures without a Redis: published vectors, the canonical form, and whoever changes anything.
#include "federation/signing.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <functional>

#include "federation/canonical.hpp"
#include "federation/json_text.hpp"
#include "federation/key_list.hpp"
#include "tests/federation/fixtures.hpp"
#include "tests/support/scratch.hpp"

namespace stem::federation {
namespace {

using test::fixture_text;

std::string base64_of(std::string_view bytes) {
  std::string text;
  append_base64(text, bytes);
  return text;
}

std::string from_hex(std::string_view hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  return bytes;
}

std::string secret_of(char first) {
  std::string secret;
  for (int i = 0; i < 32; ++i) secret += static_cast<char>(first + i);
  return base64_of(secret);
}

std::shared_ptr<const Signer> hmac(const std::string& keys, const std::string& active) {
  SigningSettings settings;
  settings.keys = keys;
  settings.active_key = active;
  auto signer = Signer::create(settings);
  EXPECT_TRUE(signer.ok()) << signer.error().message;
  return *signer;
}
// With the secret of the fixtures.
std::shared_ptr<const Signer> fixture_hmac() { return hmac("k1:" + secret_of(0), "k1"); }

constexpr std::string_view kPublic = "wRfHwRnSKMj5vPSA1hwa1XJ9X+mtsE8TL9q/xXB8eYo=";
constexpr std::string_view kSeed = "QcJ7v50ZEAvErPUF8GDNT7lQ5Kn4Ri1GY+Cx2yjLkTQ=";

std::shared_ptr<const Signer> ed25519(const std::string& public_keys, const std::string& private_keys,
                                      const std::string& active) {
  SigningSettings settings;
  settings.algorithm = "ed25519";
  settings.public_keys = public_keys;
  settings.private_keys = private_keys;
  settings.active_key = active;
  auto signer = Signer::create(settings);
  EXPECT_TRUE(signer.ok()) << signer.error().message;
  return *signer;
}

Envelope fixture_entry(const std::string& name) {
  const auto fields = test::parse_stream_fixture(fixture_text(name));
  Envelope envelope;
  const auto read = decode_fields(test::views_of(fields), envelope);
  EXPECT_TRUE(read.ok()) << read.error().message;
  return envelope;
}

Envelope task() {
  Envelope e;
  e.id = "t-1";
  e.name = "count";
  e.args = R"({"n":1,"deep":{"b":[1,2],"a":null}})";
  e.headers = R"({"tenant":"a"})";
  e.meta = R"({"m":1})";
  e.enqueued_at_us = 1'700'000'000'123'456;
  e.not_before_us = 1'700'000'100'000'000;
  e.priority = 3;
  e.attempt = 1;
  e.visibility_timeout_ms = 1000;
  e.queue = "q";
  return e;
}

std::string json(std::string_view text) {
  std::string out;
  EXPECT_TRUE(append_canonical_json(out, text)) << text;
  return out;
}

// ---- vectors

TEST(Signing, HmacIsThatOfRfc4231) {
  // Cases 1 (its key is 20 bytes), 3, 6 (a key longer than a block) and 7.
  struct Case {
    std::string key, data, mac;
  };
  const Case cases[] = {
      {std::string(20, '\x0b'), "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
      {std::string(20, '\xaa'), std::string(50, '\xdd'),
       "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
      {std::string(131, '\xaa'), "Test Using Larger Than Block-Size Key - Hash Key First",
       "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
      {std::string(131, '\xaa'),
       "This is a test using a larger than block-size key and a larger than block-size data. The key needs to be "
       "hashed "
       "before being used by the HMAC algorithm.",
       "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
  };
  for (const Case& one : cases) {
    const auto signer = hmac("k:" + base64_of(one.key), "k");
    EXPECT_EQ(signer->signature_of(one.data), from_hex(one.mac));
    EXPECT_TRUE(signer->matches("k", one.data, from_hex(one.mac)));
    EXPECT_FALSE(signer->matches("k", one.data + '.', from_hex(one.mac)));
  }
}

TEST(Signing, Ed25519IsThatOfRfc8032) {
  struct Case {
    std::string_view seed, public_key, message, signature;
  };
  const Case cases[] = {
      {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
       "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
       "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe2"
       "4"
       "655141438e7a100b"},
      {"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
       "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
       "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28"
       "d"
       "c027beceea1ec40a"},
  };
  for (const Case& one : cases) {
    const auto signer = ed25519("k:" + base64_of(from_hex(one.public_key)), "k:" + base64_of(from_hex(one.seed)), "k");
    EXPECT_EQ(signer->signature_of(from_hex(one.message)), from_hex(one.signature));
    EXPECT_TRUE(signer->matches("k", from_hex(one.message), from_hex(one.signature)));
    EXPECT_FALSE(signer->matches("k", from_hex(one.message) + 'x', from_hex(one.signature)));
  }
}

// ---- the canonical form

TEST(Canonical, IsThatOfTheFixture) {
  std::string canonical;
  ASSERT_TRUE(append_canonical(canonical, fixture_entry("signed_hmac.txt").view()));
  EXPECT_EQ(canonical, fixture_text("canonical.json"));
}

TEST(Canonical, NamesAreInTheOrderOfUtf16) {
  EXPECT_EQ(json("{\"\ue000\":1,\"\U0001F600\":2,\"\ud7ff\":3,\"b\":4,\"a\":5,\"ab\":6,\"\":7}"),
            "{\"\":7,\"a\":5,\"ab\":6,\"b\":4,\"\ud7ff\":3,\"\U0001F600\":2,\"\ue000\":1}");
  EXPECT_EQ(json("{\"\U0001F600\":1,\"\U0001F5FF\":2}"), "{\"\U0001F5FF\":2,\"\U0001F600\":1}");
}

TEST(Canonical, BlanksAndEscapesAreNoDifference) {
  EXPECT_EQ(json(" { \"b\" : [ 1 , \"\\u00e4\\/\\n\\u0007\" ] , \"\\u0061\" : { } } "),
            "{\"a\":{},\"b\":[1,\"ä/\\n\\u0007\"]}");
  EXPECT_EQ(json("[\"\\ud83d\\ude00\"]"), "[\"\U0001F600\"]");
}

// Two names: a reader takes the one or the other, so both are signed, in their order.
TEST(Canonical, ANameThatStandsTwiceIsSignedTwice) {
  EXPECT_EQ(json(R"({"b":1,"a":2,"a":1})"), R"({"a":2,"a":1,"b":1})");
  EXPECT_NE(json(R"({"a":2,"a":1})"), json(R"({"a":1,"a":2})"));
}

TEST(Canonical, NumbersAreAsDartHasThem) {
  EXPECT_EQ(json("[0,1,-1,9223372036854775807,-9223372036854775808]"),
            "[0,1,-1,9223372036854775807,-9223372036854775808]");
  EXPECT_EQ(json("[18446744073709551616,123456789012345678901234567890]"),
            "[18446744073709551616,123456789012345678901234567890]")
      << "no digit is without a signature";
  EXPECT_EQ(
      json("[1.0,1.50,-0.0,1e2,1E+2,0.1,100.25,1e20,1e21,1.5e300,0.000001,0.0000001,-2.5e-9,5e-324]"),
      "[1.0,1.5,-0.0,100.0,100.0,0.1,100.25,100000000000000000000.0,1e+21,1.5e+300,0.000001,1e-7,-2.5e-9,5e-324]");
  EXPECT_EQ(json("[123456789012345680000.0,1.7976931348623157e308]"),
            "[123456789012345680000.0,1.7976931348623157e+308]");
}

// What anybody may send costs time in proportion, however deep it is.
TEST(Canonical, TheDeepIsReadInItsOrder) {
  constexpr int kDeep = 20'000;
  std::string text;
  for (int i = 0; i < kDeep; ++i) text += "{\"b\":";
  text += "0";
  for (int i = 0; i < kDeep; ++i) text += ",\"a\":1}";
  const std::string form = json(text);
  EXPECT_EQ(form.size(), text.size());
  EXPECT_TRUE(form.starts_with("{\"a\":1,\"b\":{\"a\":1"));
  EXPECT_TRUE(form.find("{\"b\":0,\"a\":1}") != form.npos);
}

// ---- signing

TEST(Signing, WhatTheOtherSideHasSignedIsRight) {
  EXPECT_TRUE(fixture_hmac()->verify(fixture_entry("signed_hmac.txt").view()).ok());
  EXPECT_TRUE(ed25519("e1:" + std::string(kPublic), "", "")->verify(fixture_entry("signed_ed25519.txt").view()).ok());
  Envelope delayed;
  ASSERT_TRUE(decode_json(fixture_text("signed_delayed.json"), delayed).ok());
  EXPECT_TRUE(fixture_hmac()->verify(delayed.view()).ok());
}

TEST(Signing, WhatWeSignIsWhatTheOtherSideSigns) {
  for (const std::string name : {"signed_hmac.txt", "signed_ed25519.txt"}) {
    const Envelope theirs = fixture_entry(name);
    Envelope ours = theirs;
    ours.headers = R"({"traceparent":"00-abc","a":"\u0001","stem-signature":"old","stem-signature-key":"older"})";
    const auto signer = name == "signed_hmac.txt"
                            ? fixture_hmac()
                            : ed25519("e1:" + std::string(kPublic), "e1:" + std::string(kSeed), "e1");
    ASSERT_TRUE(signer->sign(ours).ok());
    EXPECT_EQ(json(ours.headers), json(theirs.headers)) << name;
  }
}

TEST(Signing, SurvivesTheWireBothWays) {
  const auto signer = fixture_hmac();
  Envelope e = task();
  e.payload = std::string("\0\xff raw", 6);
  e.args = "{}";
  e.foreign.push_back({"new", "x", false});
  ASSERT_TRUE(signer->sign(e).ok());
  EXPECT_TRUE(is_signed(e.view()));
  const StreamFields fields(e.view());
  Envelope back;
  ASSERT_TRUE(decode_fields(fields.fields(), back).ok());
  EXPECT_TRUE(signer->verify(back.view()).ok());
  std::string text;
  append_json(text, e.view());
  ASSERT_TRUE(decode_json(text, back).ok());
  EXPECT_TRUE(signer->verify(back.view()).ok());
}

TEST(Signing, NothingThatIsSignedMayBeChanged) {
  const auto signer = fixture_hmac();
  const std::function<void(Envelope&)> changes[] = {
      [](Envelope& e) { e.id = "t-2"; },
      [](Envelope& e) { e.name = "counts"; },
      [](Envelope& e) { e.args = R"({"n":2,"deep":{"b":[1,2],"a":null}})"; },
      [](Envelope& e) { e.args = R"({"n":1,"deep":{"b":[2,1],"a":null}})"; },
      [](Envelope& e) { e.args = R"({"n":1.0,"deep":{"b":[1,2],"a":null}})"; },
      [](Envelope& e) { e.args = R"({"n":1,"n":1,"deep":{"b":[1,2],"a":null}})"; },
      [](Envelope& e) { e.args = R"({"n":1,"deep":{"b":[1,2]}})"; },
      [](Envelope& e) { e.meta = "{}"; },
      [](Envelope& e) { e.meta = R"({"m":1,"stem.timeLimitMs":1})"; },
      [](Envelope& e) { e.headers.insert(1, R"("more":"",)"); },
      [](Envelope& e) { e.headers.replace(e.headers.find("\"tenant\":\"a\""), 12, "\"tenant\":\"b\""); },
      [](Envelope& e) { ++e.enqueued_at_us; },
      [](Envelope& e) { e.not_before_us.reset(); },
      [](Envelope& e) { *e.not_before_us -= 1000; },
      [](Envelope& e) { e.priority = 9; },
      [](Envelope& e) { e.attempt = 0; },
      [](Envelope& e) { ++e.max_retries; },
      [](Envelope& e) { e.visibility_timeout_ms.reset(); },
      [](Envelope& e) { e.queue = "r"; },
      [](Envelope& e) { e.payload = "other bytes"; },
      [](Envelope& e) { e.payload = ""; },
  };
  Envelope e = task();
  ASSERT_TRUE(signer->sign(e).ok());
  ASSERT_TRUE(signer->verify(e.view()).ok());
  int number = 0;
  for (const auto& change : changes) {
    Envelope changed = e;
    change(changed);
    ASSERT_FALSE(changed == e) << number;
    EXPECT_FALSE(signer->verify(changed.view()).ok()) << "change " << number;
    ++number;
  }
  Envelope reordered = e;
  reordered.args = R"( {"deep": {"a":null, "b":[1,2]}, "n":1} )";
  EXPECT_TRUE(signer->verify(reordered.view()).ok()) << "it says the same";
}

TEST(Signing, HeadersOfAnEnemyAreRefusedInWords) {
  const auto signer = fixture_hmac();
  Envelope good = task();
  ASSERT_TRUE(signer->sign(good).ok());
  const auto why = [&](const std::string& headers) {
    Envelope e = task();
    e.headers = headers;
    const auto verified = signer->verify(e.view());
    return verified.ok() ? std::string("nothing") : verified.error().message;
  };
  EXPECT_EQ(why(R"({"tenant":"a"})"), "it is not signed");
  EXPECT_EQ(why(R"({"tenant":"a","stem-signature":"QQ=="})"), "it is not signed");
  EXPECT_EQ(why(R"({"tenant":"a","stem-signature-key":"k1"})"), "it is not signed");
  EXPECT_EQ(why(R"({"tenant":"a","stem-signature":1,"stem-signature-key":"k1"})"), "it is not signed");
  EXPECT_EQ(why(R"({"tenant":"a","stem-signature":"QQ==","stem-signature-key":"k9"})"),
            "the key 'k9' that signed it is not known here");
  EXPECT_EQ(why(R"({"tenant":"a","stem-signature":"!","stem-signature-key":"k1"})"), "its signature is not base64");
  EXPECT_EQ(why(R"({"tenant":"a","stem-signature":"","stem-signature-key":"k1"})"),
            "it is not what key 'k1' has signed");
  EXPECT_EQ(why(R"({"tenant":"a","stem-signature":"QQ==","stem-signature-key":"k1"})"),
            "it is not what key 'k1' has signed");
  EXPECT_EQ(
      why(R"({"tenant":"a","stem-signature":")" + base64_of(std::string(32, 'x')) + R"(","stem-signature-key":"k1"})"),
      "it is not what key 'k1' has signed");
  EXPECT_EQ(why("{\"stem-signature-key\":\"" + std::string(1 << 20, 'k') + "\",\"stem-signature\":\"QQ==\"}").size(),
            std::string("the key '' that signed it is not known here").size() + 64);
  EXPECT_EQ(why(good.headers), "nothing");
  // One bit of the signature.
  for (std::size_t at = 0; at < 32; at += 7) {
    const auto members = *json_members(good.headers);
    std::string bytes = *decode_base64(json_string_value(members[1].value));
    bytes[at] = static_cast<char>(bytes[at] ^ 1);
    EXPECT_NE(why(R"({"tenant":"a","stem-signature":")" + base64_of(bytes) + R"(","stem-signature-key":"k1"})"),
              "nothing");
  }
}

TEST(Signing, WhatIsNoJsonIsNotSigned) {
  Envelope e = task();
  e.meta = "{";
  EXPECT_FALSE(fixture_hmac()->sign(e).ok());
  e = task();
  e.headers = "[]";
  EXPECT_FALSE(fixture_hmac()->sign(e).ok());
}

TEST(Signing, KeysAreChangedByOverlap) {
  const std::string old_key = "old:" + secret_of(1), new_key = "new:" + secret_of(2);
  const auto before = hmac(old_key, "old"), knows_both = hmac(old_key + "," + new_key, "old");
  const auto signs_new = hmac(old_key + "," + new_key, "new"), after = hmac(new_key, "new");
  Envelope by_old = task(), by_new = task();
  ASSERT_TRUE(before->sign(by_old).ok());
  ASSERT_TRUE(signs_new->sign(by_new).ok());
  for (const auto& one : {before, knows_both, signs_new}) EXPECT_TRUE(one->verify(by_old.view()).ok());
  for (const auto& one : {knows_both, signs_new, after}) EXPECT_TRUE(one->verify(by_new.view()).ok());
  EXPECT_FALSE(after->verify(by_old.view()).ok());
  EXPECT_FALSE(before->verify(by_new.view()).ok());
  // The same id with another secret.
  EXPECT_FALSE(hmac("old:" + secret_of(3), "old")->verify(by_old.view()).ok());
}

TEST(Signing, PublicKeysAloneVerify) {
  const auto signs = ed25519("e1:" + std::string(kPublic), "e1:" + std::string(kSeed), "e1");
  const auto verifies = ed25519("e1:" + std::string(kPublic), "", "");
  EXPECT_TRUE(signs->can_sign());
  EXPECT_FALSE(verifies->can_sign());
  Envelope e = task();
  ASSERT_TRUE(signs->sign(e).ok());
  EXPECT_TRUE(verifies->verify(e.view()).ok());
  e.attempt = 2;
  EXPECT_FALSE(verifies->verify(e.view()).ok());
}

// ---- keys

TEST(SigningKeys, HalfAConfigurationIsAnError) {
  const std::string k = "k:" + secret_of(0), p = "e:" + std::string(kPublic), s = "e:" + std::string(kSeed);
  struct Case {
    std::string algorithm, keys, public_keys, private_keys, active, why;
  };
  const Case cases[] = {
      {"", "", "", "", "k", "STEM_SIGNING_KEYS is wanted"},
      {"hmac-sha256", "", "", "", "", "STEM_SIGNING_KEYS is wanted"},
      {"", k, "", "", "", "STEM_SIGNING_ACTIVE_KEY is wanted"},
      {"", k, "", "", "x", "'x' is not in STEM_SIGNING_KEYS"},
      {"", k, p, "", "k", "are for ed25519"},
      {"", "k", "", "", "k", "entry 1 is not id:base64"},
      {"", k + ",:QQ==", "", "", "k", "entry 2 is not id:base64"},
      {"", "k:#", "", "", "k", "key 'k' is not base64"},
      {"", k + "," + k, "", "", "k", "key 'k' is there twice"},
      {"", "k:QUJD", "", "", "k", "key 'k' has 3 bytes"},
      {"hmac", k, "", "", "k", "is none of hmac-sha256, ed25519"},
      {"ed25519", "", "", "", "", "STEM_SIGNING_PUBLIC_KEYS is wanted"},
      {"ed25519", k, p, "", "", "are for hmac-sha256"},
      {"ed25519", "", "e:QUJD", "", "", "key 'e' has 3 bytes"},
      {"ed25519", "", p, s, "", "STEM_SIGNING_ACTIVE_KEY is wanted"},
      {"ed25519", "", p, "", "e", "'e' is not in STEM_SIGNING_PRIVATE_KEYS"},
      {"ed25519", "", "f:" + std::string(kPublic), s, "e", "'e' is not in STEM_SIGNING_PUBLIC_KEYS"},
      {"ed25519", "", "e:" + secret_of(0), s, "e", "do not belong together"},
  };
  for (const Case& one : cases) {
    SigningSettings settings;
    settings.algorithm = one.algorithm;
    settings.keys = one.keys;
    settings.public_keys = one.public_keys;
    settings.private_keys = one.private_keys;
    settings.active_key = one.active;
    const auto signer = Signer::create(settings);
    ASSERT_FALSE(signer.ok()) << one.why;
    EXPECT_NE(signer.error().message.find(one.why), std::string::npos) << signer.error().message;
    for (const std::string_view secret : {std::string_view(kSeed), std::string_view("AAECAwQF")})
      EXPECT_EQ(signer.error().message.find(secret), std::string::npos) << signer.error().message;
  }
}

TEST(SigningKeys, AFileOfSecretsIsItsOwnersAlone) {
  const test::ScratchDirectory directory;
  const std::string path = directory.file("keys");
  std::ofstream(path) << "# ours\nk1:" << secret_of(0) << "  # the first\n\nk2:" << secret_of(5) << "\n";
  ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
  const auto keys = read_key_file(path, true);
  ASSERT_TRUE(keys.ok()) << keys.error().message;
  EXPECT_TRUE(hmac(*keys, "k2")->verify(fixture_entry("signed_hmac.txt").view()).ok());
  for (const mode_t mode : {0640, 0604, 0620, 0644}) {
    ASSERT_EQ(::chmod(path.c_str(), mode), 0);
    const auto refused = read_key_file(path, true);
    ASSERT_FALSE(refused.ok()) << mode;
    EXPECT_NE(refused.error().message.find("0600"), std::string::npos) << refused.error().message;
    EXPECT_TRUE(read_key_file(path, false).ok());
  }
  EXPECT_FALSE(read_key_file(directory.file("none"), true).ok());
  EXPECT_FALSE(read_key_file(directory.path(), true).ok());
  std::ofstream(path) << std::string(1 << 20, 'x');
  EXPECT_FALSE(read_key_file(path, false).ok());
}

}  // namespace
}  // namespace stem::federation
