#include "federation/signing.hpp"

#include <fmt/format.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <map>
#include <optional>

#include "base/check.hpp"
#include "federation/canonical.hpp"
#include "federation/json_text.hpp"
#include "federation/key_list.hpp"

namespace stem::federation {
namespace {

struct Free {
  void operator()(EVP_MAC* mac) const { EVP_MAC_free(mac); }
  void operator()(EVP_MAC_CTX* context) const { EVP_MAC_CTX_free(context); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
template <class T>
using Owned = std::unique_ptr<T, Free>;

constexpr std::size_t kLeastSecretBytes = 16;  // RFC 2104 wants 32; less than this is no secret
constexpr std::size_t kHmacBytes = 32;
constexpr std::size_t kEd25519KeyBytes = 32;
constexpr std::size_t kEd25519Bytes = 64;

const unsigned char* bytes_of(std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }

Error unusable(std::string message) { return {Errc::kInvalidArgument, std::move(message)}; }

class HmacSigner final : public Signer {
 public:
  // A context for each key, with the key in it: a signature copies it and never looks at the key again.
  using Contexts = std::map<std::string, Owned<EVP_MAC_CTX>, std::less<>>;

  HmacSigner(std::string active, Contexts keys)
      : Signer(active), keys_(std::move(keys)), active_(keys_.find(active)->second.get()) {}

  static Owned<EVP_MAC_CTX> context_of(std::string_view secret) {
    const Owned<EVP_MAC> mac(EVP_MAC_fetch(nullptr, "HMAC", nullptr));
    STEM_CHECK(mac != nullptr);
    Owned<EVP_MAC_CTX> context(EVP_MAC_CTX_new(mac.get()));
    char digest[] = "SHA256";
    const OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                                 OSSL_PARAM_construct_end()};
    STEM_CHECK(context != nullptr && EVP_MAC_init(context.get(), bytes_of(secret), secret.size(), params) == 1);
    return context;
  }

  bool can_sign() const override { return true; }
  std::string signature_of(std::string_view message) const override { return mac_of(*active_, message); }
  bool knows(std::string_view key_id) const override { return keys_.contains(key_id); }
  bool matches(std::string_view key_id, std::string_view message, std::string_view signature) const override {
    const auto key = keys_.find(key_id);
    if (key == keys_.end() || signature.size() != kHmacBytes) return false;
    std::string expected = mac_of(*key->second, message);
    const bool same = CRYPTO_memcmp(expected.data(), signature.data(), kHmacBytes) == 0;
    OPENSSL_cleanse(expected.data(), expected.size());
    return same;
  }

 private:
  static std::string mac_of(const EVP_MAC_CTX& keyed, std::string_view message) {
    const Owned<EVP_MAC_CTX> context(EVP_MAC_CTX_dup(&keyed));
    std::string mac(kHmacBytes, '\0');
    std::size_t size = 0;
    STEM_CHECK(context != nullptr && EVP_MAC_update(context.get(), bytes_of(message), message.size()) == 1 &&
               EVP_MAC_final(context.get(), reinterpret_cast<unsigned char*>(mac.data()), &size, mac.size()) == 1 &&
               size == mac.size());
    return mac;
  }

  Contexts keys_;
  const EVP_MAC_CTX* active_;
};

class Ed25519Signer final : public Signer {
 public:
  using PublicKeys = std::map<std::string, Owned<EVP_PKEY>, std::less<>>;

  Ed25519Signer(std::string active, PublicKeys keys, Owned<EVP_PKEY> private_key)
      : Signer(std::move(active)), keys_(std::move(keys)), private_(std::move(private_key)) {}

  bool can_sign() const override { return private_ != nullptr; }
  std::string signature_of(std::string_view message) const override {
    STEM_CHECK(can_sign());
    const Owned<EVP_MD_CTX> context(EVP_MD_CTX_new());
    std::string signature(kEd25519Bytes, '\0');
    std::size_t size = signature.size();
    STEM_CHECK(context != nullptr &&
               EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, private_.get()) == 1 &&
               EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &size,
                              bytes_of(message), message.size()) == 1 &&
               size == signature.size());
    return signature;
  }
  bool knows(std::string_view key_id) const override { return keys_.contains(key_id); }
  bool matches(std::string_view key_id, std::string_view message, std::string_view signature) const override {
    const auto key = keys_.find(key_id);
    if (key == keys_.end() || signature.size() != kEd25519Bytes) return false;
    const Owned<EVP_MD_CTX> context(EVP_MD_CTX_new());
    return context != nullptr &&
           EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, key->second.get()) == 1 &&
           EVP_DigestVerify(context.get(), bytes_of(signature), signature.size(), bytes_of(message), message.size()) ==
               1;
  }

 private:
  PublicKeys keys_;
  Owned<EVP_PKEY> private_;
};

Result<std::shared_ptr<const Signer>> create_hmac(const SigningSettings& settings) {
  if (!settings.public_keys.empty() || !settings.private_keys.empty())
    return unusable(
        "signing: public and private keys are for ed25519; set STEM_SIGNING_ALGORITHM=ed25519, or drop them");
  auto list = KeyList::parse(settings.keys);
  if (!list) return list.error().within("STEM_SIGNING_KEYS");
  if (list->empty()) return unusable("signing: STEM_SIGNING_KEYS is wanted: id:base64,...");
  if (settings.active_key.empty()) return unusable("signing: STEM_SIGNING_ACTIVE_KEY is wanted: the key that signs");
  if (list->find(settings.active_key) == nullptr)
    return unusable(fmt::format("signing: the active key '{:.64}' is not in STEM_SIGNING_KEYS", settings.active_key));
  HmacSigner::Contexts contexts;
  for (const auto& [id, secret] : *list) {
    if (secret.size() < kLeastSecretBytes)
      return unusable(fmt::format("STEM_SIGNING_KEYS: key '{:.64}' has {} bytes; a secret has at least {}", id,
                                  secret.size(), kLeastSecretBytes));
    contexts.emplace(id, HmacSigner::context_of(secret));
  }
  return std::shared_ptr<const Signer>(new HmacSigner(settings.active_key, std::move(contexts)));
}

Error wrong_size(std::string_view setting, std::string_view id, std::size_t size) {
  return unusable(
      fmt::format("{}: key '{:.64}' has {} bytes; an Ed25519 key has {}", setting, id, size, kEd25519KeyBytes));
}

// The private half of the active key, and it belongs to its public half.
Result<Owned<EVP_PKEY>> active_private_key(const SigningSettings& settings, const KeyList& public_keys) {
  auto list = KeyList::parse(settings.private_keys);
  if (!list) return list.error().within("STEM_SIGNING_PRIVATE_KEYS");
  if (list->empty() && settings.active_key.empty()) return Owned<EVP_PKEY>();
  if (settings.active_key.empty())
    return unusable("signing: STEM_SIGNING_ACTIVE_KEY is wanted: which of the private keys signs");
  const std::string* seed = list->find(settings.active_key);
  if (seed == nullptr)
    return unusable(
        fmt::format("signing: the active key '{:.64}' is not in STEM_SIGNING_PRIVATE_KEYS", settings.active_key));
  if (seed->size() != kEd25519KeyBytes)
    return wrong_size("STEM_SIGNING_PRIVATE_KEYS", settings.active_key, seed->size());
  const std::string* public_key = public_keys.find(settings.active_key);
  if (public_key == nullptr)
    return unusable(
        fmt::format("signing: the active key '{:.64}' is not in STEM_SIGNING_PUBLIC_KEYS", settings.active_key));
  Owned<EVP_PKEY> key(EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, bytes_of(*seed), seed->size()));
  STEM_CHECK(key != nullptr);
  unsigned char derived[kEd25519KeyBytes];
  std::size_t size = sizeof derived;
  STEM_CHECK(EVP_PKEY_get_raw_public_key(key.get(), derived, &size) == 1 && size == sizeof derived);
  if (CRYPTO_memcmp(derived, public_key->data(), sizeof derived) != 0)
    return unusable(
        fmt::format("signing: the private and the public key '{:.64}' do not belong together", settings.active_key));
  return key;
}

Result<std::shared_ptr<const Signer>> create_ed25519(const SigningSettings& settings) {
  if (!settings.keys.empty())
    return unusable("signing: STEM_SIGNING_KEYS are for hmac-sha256; ed25519 has public and private keys");
  auto list = KeyList::parse(settings.public_keys);
  if (!list) return list.error().within("STEM_SIGNING_PUBLIC_KEYS");
  if (list->empty()) return unusable("signing: STEM_SIGNING_PUBLIC_KEYS is wanted: id:base64,...");
  Ed25519Signer::PublicKeys keys;
  for (const auto& [id, bytes] : *list) {
    if (bytes.size() != kEd25519KeyBytes) return wrong_size("STEM_SIGNING_PUBLIC_KEYS", id, bytes.size());
    Owned<EVP_PKEY> key(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, bytes_of(bytes), bytes.size()));
    STEM_CHECK(key != nullptr);
    keys.emplace(id, std::move(key));
  }
  auto private_key = active_private_key(settings, *list);
  if (!private_key) return private_key.error();
  return std::shared_ptr<const Signer>(
      new Ed25519Signer(settings.active_key, std::move(keys), std::move(*private_key)));
}

struct SignatureHeaders {
  std::optional<std::string> signature, key;
};

// Of two with one name the last; a header that is not text is none.
SignatureHeaders signature_headers(std::string_view headers) {
  SignatureHeaders found;
  if (headers == "{}") return found;
  const auto members = json_members(headers);
  if (!members) return found;
  for (const JsonMember& m : *members) {
    if (!m.is_string()) continue;
    if (m.name == kSignatureHeader) found.signature = json_string_value(m.value);
    if (m.name == kSignatureKeyHeader) found.key = json_string_value(m.value);
  }
  return found;
}

}  // namespace

SigningSettings::~SigningSettings() {
  for (std::string* secret : {&keys, &private_keys}) OPENSSL_cleanse(secret->data(), secret->size());
}

bool SigningSettings::any() const {
  return !(algorithm.empty() && keys.empty() && public_keys.empty() && private_keys.empty() && active_key.empty());
}

Result<std::shared_ptr<const Signer>> Signer::create(const SigningSettings& settings) {
  if (settings.algorithm.empty() || settings.algorithm == "hmac-sha256") return create_hmac(settings);
  if (settings.algorithm == "ed25519") return create_ed25519(settings);
  return unusable(fmt::format("STEM_SIGNING_ALGORITHM: '{:.64}' is none of hmac-sha256, ed25519", settings.algorithm));
}

Result<void> Signer::sign(Envelope& envelope) const {
  std::string canonical;
  if (!append_canonical(canonical, envelope.view()))
    return Error{Errc::kInvalidArgument, "args, headers or meta of a task are not JSON objects"};
  std::string headers = "{";
  const auto member = [&headers](std::string_view name, std::string_view json) {
    if (headers.size() > 1) headers += ',';
    append_json_string(headers, name);
    headers += ':';
    headers += json;
  };
  const auto members = json_members(envelope.headers);
  for (const JsonMember& m : *members)
    if (m.name != kSignatureHeader && m.name != kSignatureKeyHeader) member(m.name, m.value);
  std::string text = "\"";
  append_base64(text, signature_of(canonical));
  member(kSignatureHeader, text += '"');
  text.clear();
  append_json_string(text, active_key_);
  member(kSignatureKeyHeader, text);
  envelope.headers = headers += '}';
  return {};
}

Result<void> Signer::verify(const EnvelopeView& envelope) const {
  const SignatureHeaders found = signature_headers(envelope.headers);
  if (!found.signature || !found.key) return Error{Errc::kRefused, "it is not signed"};
  if (!knows(*found.key))
    return Error{Errc::kRefused, fmt::format("the key '{:.64}' that signed it is not known here", *found.key)};
  const auto signature = decode_base64(*found.signature);
  if (!signature) return Error{Errc::kRefused, "its signature is not base64"};
  std::string canonical;
  if (!append_canonical(canonical, envelope) || !matches(*found.key, canonical, *signature))
    return Error{Errc::kRefused, fmt::format("it is not what key '{:.64}' has signed", *found.key)};
  return {};
}

bool is_signed(const EnvelopeView& envelope) { return signature_headers(envelope.headers).signature.has_value(); }

}  // namespace stem::federation
