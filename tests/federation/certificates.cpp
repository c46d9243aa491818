#include "tests/federation/certificates.hpp"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

namespace stem::test {

struct FreeParts {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(X509_EXTENSION* extension) const { X509_EXTENSION_free(extension); }
};
using Key = std::unique_ptr<EVP_PKEY, FreeParts>;
using Certificate = std::unique_ptr<X509, FreeParts>;

namespace {

void must(bool held, const char* what) {
  if (held) return;
  std::fprintf(stderr, "certificates: %s\n", what);
  std::abort();
}

Key make_key() {
  Key key(EVP_EC_gen("P-256"));
  must(key != nullptr, "key");
  return key;
}

void add_extension(X509* certificate, X509* issuer, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const std::unique_ptr<X509_EXTENSION, FreeParts> extension(
      X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str()));
  must(extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1, value.c_str());
}

Certificate make_certificate(EVP_PKEY* key, const std::string& name, int days) {
  static long serial = 1;
  Certificate certificate(X509_new());
  X509_set_version(certificate.get(), X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), ++serial);
  constexpr long kDay = 86'400;
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -2 * kDay);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), days * kDay);
  X509_set_pubkey(certificate.get(), key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  return certificate;
}

CertificateFiles write(const std::string& directory, const std::string& name, X509* certificate, EVP_PKEY* key) {
  CertificateFiles files{directory + "/" + name + ".crt", directory + "/" + name + ".key"};
  std::FILE* file = std::fopen(files.certificate.c_str(), "w");
  must(file != nullptr && PEM_write_X509(file, certificate) == 1 && std::fclose(file) == 0, "write certificate");
  file = std::fopen(files.key.c_str(), "w");
  must(file != nullptr && PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr) == 1 &&
           std::fclose(file) == 0,
       "write key");
  return files;
}

}  // namespace

struct Authority::Parts {
  Key key;
  Certificate certificate;
};

Authority::Authority(const std::string& directory, const std::string& name)
    : directory_(directory), parts_(new Parts{make_key(), nullptr}) {
  parts_->certificate = make_certificate(parts_->key.get(), name, 1);
  X509* self = parts_->certificate.get();
  X509_set_issuer_name(self, X509_get_subject_name(self));
  add_extension(self, self, NID_basic_constraints, "critical,CA:TRUE");
  must(X509_sign(self, parts_->key.get(), EVP_sha256()) > 0, "sign");
  files_ = write(directory, name, self, parts_->key.get());
}

Authority::~Authority() { delete parts_; }

CertificateFiles Authority::issue(const std::string& name, const std::string& subjects, int days) const {
  const Key key = make_key();
  const Certificate certificate = make_certificate(key.get(), name, days);
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(parts_->certificate.get()));
  add_extension(certificate.get(), parts_->certificate.get(), NID_subject_alt_name, subjects);
  must(X509_sign(certificate.get(), parts_->key.get(), EVP_sha256()) > 0, "sign");
  return write(directory_, name, certificate.get(), key.get());
}

}  // namespace stem::test
