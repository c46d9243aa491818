// TLS to a Redis server: OpenSSL over memory, so that the bytes travel on our own loop.
#pragma once

#include <string>

namespace stem::federation {

struct TlsOptions {
  std::string ca_file;            // PEM; empty = the system's
  std::string certificate_file;   // PEM; empty = no client certificate
  std::string key_file;           // PEM
  std::string server_name;        // for SNI and the host-name check; empty = the URL's host
  bool check_certificate = true;  // off: encrypted, but to anybody
};

}  // namespace stem::federation
