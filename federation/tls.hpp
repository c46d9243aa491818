// TLS to a Redis server: OpenSSL over memory, so that the bytes travel on our own loop.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace stem::federation {

struct TlsOptions {
  std::string ca_file;            // PEM; empty = the system's
  std::string certificate_file;   // PEM; empty = no client certificate
  std::string key_file;           // PEM
  std::string server_name;        // for SNI and the host-name check; empty = the URL's host
  bool check_certificate = true;  // off: encrypted, but to anybody
};

// One TLS connection, as the client. Every call may leave bytes for the peer in `cipher_out`; an error ends the session
// and says what OpenSSL said.
class TlsSession {
 public:
  // `host` is checked against the certificate unless the options name another. kInvalidArgument or kNotFound for files
  // that cannot be used.
  static Result<std::unique_ptr<TlsSession>> create(const TlsOptions& options, const std::string& host);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  Result<void> start(std::string& cipher_out);
  // Bytes of the peer: what they say is appended to `plain`.
  Result<void> receive(std::string_view cipher, std::string& plain, std::string& cipher_out);
  // Only when established.
  Result<void> send(std::string_view plain, std::string& cipher_out);
  bool established() const;

 private:
  struct Parts;
  explicit TlsSession(std::unique_ptr<Parts> parts);
  Result<void> shake_hands(std::string& cipher_out);
  void drain(std::string& cipher_out);

  std::unique_ptr<Parts> parts_;
};

}  // namespace stem::federation
