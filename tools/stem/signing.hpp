// Keys of signatures: from settings (environment, stem.toml) and from files that flags name.
#pragma once

#include <memory>
#include <string>

#include "base/result.hpp"
#include "federation/signing.hpp"
#include "tools/stem/context.hpp"

namespace stem::cli {

class CommandLine;

struct SigningFlags {
  std::string keys_file;         // secrets of hmac-sha256, or private keys of ed25519
  std::string public_keys_file;  // of ed25519
};

void declare_signing_flags(CommandLine& line, SigningFlags* flags);

// nullptr when nobody wants signatures. Afterwards the environment of this process has no secrets any more.
Result<std::shared_ptr<const federation::Signer>> make_signer(const SigningFlags& flags, const Context& context);

}  // namespace stem::cli
