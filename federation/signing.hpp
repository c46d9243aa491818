// Signatures of envelopes: HMAC-SHA256 or Ed25519 over the canonical form (docs/federation.md, "Signing").
//
// Several keys may verify, one signs; so keys are changed by overlap: first every host knows the new one, then the
// hosts sign with it, and when nothing signed with the old one is on its way, it goes.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "federation/envelope.hpp"

namespace stem::federation {

// As people give them: STEM_SIGNING_ALGORITHM and so on. Keys are "id:base64" with commas, blanks or ends of lines
// between; what was secret in here is wiped when it goes.
struct SigningSettings {
  std::string algorithm;     // "hmac-sha256" (also when empty), "ed25519"
  std::string keys;          // secrets of hmac-sha256
  std::string public_keys;   // of ed25519, 32 bytes each
  std::string private_keys;  // of ed25519, 32 bytes each (the seed of RFC 8032)
  std::string active_key;    // the id of the one that signs

  SigningSettings() = default;
  SigningSettings(const SigningSettings&) = default;
  SigningSettings& operator=(const SigningSettings&) = delete;
  ~SigningSettings();
  bool any() const;  // somebody wants signatures
};

// Immutable, and holds its keys until it goes; then they are wiped. Any thread may use it.
class Signer {
 public:
  // The error names the setting and the key's id, never a key. Half a configuration is an error, not "no signatures".
  static Result<std::shared_ptr<const Signer>> create(const SigningSettings& settings);
  virtual ~Signer() = default;
  Signer(const Signer&) = delete;
  Signer& operator=(const Signer&) = delete;

  // False with public keys alone.
  virtual bool can_sign() const = 0;
  // Puts the two headers in, in place of those that are there. Only where can_sign(). An error when one of the
  // envelope's texts is not the JSON that it is to be.
  Result<void> sign(Envelope& envelope) const;
  // kRefused with one sentence (what is missing, unknown or wrong).
  Result<void> verify(const EnvelopeView& envelope) const;
  // Of any bytes.
  virtual std::string signature_of(std::string_view message) const = 0;
  // False when it is not a signature of that key, or there is no such key.
  virtual bool knows(std::string_view key_id) const = 0;
  virtual bool matches(std::string_view key_id, std::string_view message, std::string_view signature) const = 0;

 protected:
  explicit Signer(std::string active_key) : active_key_(std::move(active_key)) {}

 private:
  std::string active_key_;
};

// It carries a signature, of whomever: then nothing that is signed may be changed on its way (attempt, notBefore, ...).
bool is_signed(const EnvelopeView& envelope);

}  // namespace stem::federation
