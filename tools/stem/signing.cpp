#include "tools/stem/signing.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cstdlib>
#include <cstring>

#include "federation/key_list.hpp"
#include "tools/stem/command_line.hpp"

namespace stem::cli {
namespace {

constexpr std::string_view kSecretSettings[] = {"signing.keys", "signing.private_keys"};
constexpr const char* kSecretVariables[] = {"STEM_SIGNING_KEYS", "STEM_SIGNING_PRIVATE_KEYS"};

// Nobody reads them in /proc, and no child inherits them.
void forget_environment() {
  for (const char* name : kSecretVariables) {
    if (char* text = std::getenv(name); text != nullptr) ::explicit_bzero(text, std::strlen(text));
    (void)::unsetenv(name);
  }
}

// stem.toml is for everybody to read, unless it has secrets.
Result<void> check_config_file(const Context& context) {
  for (const std::string_view key : kSecretSettings) {
    if (context.config.value(key).origin != Origin::kFile) continue;
    struct stat status {};
    if (::stat(context.config.file().c_str(), &status) == 0 && (status.st_mode & (S_IRWXG | S_IRWXO)) != 0)
      return Error{Errc::kRefused, fmt::format("{}: has mode {:04o}; a file with {} wants 0600 (chmod 600)",
                                               context.config.file(), status.st_mode & 07777, key)};
  }
  return {};
}

Result<void> read_files(const SigningFlags& flags, federation::SigningSettings& settings) {
  if (!flags.keys_file.empty()) {
    auto keys = federation::read_key_file(flags.keys_file, /*is_secret=*/true);
    if (!keys) return keys.error().within("--signing-keys-file");
    (settings.algorithm == "ed25519" ? settings.private_keys : settings.keys).swap(*keys);
    ::explicit_bzero(keys->data(), keys->size());
  }
  if (!flags.public_keys_file.empty()) {
    auto keys = federation::read_key_file(flags.public_keys_file, /*is_secret=*/false);
    if (!keys) return keys.error().within("--signing-public-keys-file");
    settings.public_keys = std::move(*keys);
  }
  return {};
}

}  // namespace

void declare_signing_flags(CommandLine& line, SigningFlags* flags) {
  line.setting("--signing-algorithm", "signing.algorithm");
  line.setting("--signing-active-key", "signing.active_key").named("ID");
  line.file("--signing-keys-file", &flags->keys_file,
            "secrets of hmac-sha256 or private keys of ed25519, id:base64 a line; mode 0600");
  line.file("--signing-public-keys-file", &flags->public_keys_file, "public keys of ed25519, id:base64 a line");
}

Result<std::shared_ptr<const federation::Signer>> make_signer(const SigningFlags& flags, const Context& context) {
  federation::SigningSettings settings;
  settings.algorithm = context.config.text("signing.algorithm");
  settings.keys = context.config.text("signing.keys");
  settings.public_keys = context.config.text("signing.public_keys");
  settings.private_keys = context.config.text("signing.private_keys");
  settings.active_key = context.config.text("signing.active_key");
  forget_environment();
  if (const auto checked = check_config_file(context); !checked) return checked.error();
  if (const auto read = read_files(flags, settings); !read) return read.error();
  if (!settings.any()) return std::shared_ptr<const federation::Signer>();
  return federation::Signer::create(settings);
}

}  // namespace stem::cli
