// Certificates of a test's own authority, made on the spot, as PEM files.
#pragma once

#include <cstdint>
#include <string>

namespace stem::test {

struct CertificateFiles {
  std::string certificate;
  std::string key;
};

class Authority {
 public:
  // Writes `<directory>/<name>.crt` and `.key`.
  Authority(const std::string& directory, const std::string& name);
  ~Authority();
  Authority(const Authority&) = delete;
  Authority& operator=(const Authority&) = delete;

  const std::string& ca_file() const { return files_.certificate; }
  // `subjects` as in subjectAltName: "DNS:redis.test,IP:127.0.0.1". Valid from yesterday until `days` from now.
  CertificateFiles issue(const std::string& name, const std::string& subjects, int days = 1) const;

 private:
  struct Parts;
  std::string directory_;
  CertificateFiles files_;
  Parts* parts_;
};

}  // namespace stem::test
