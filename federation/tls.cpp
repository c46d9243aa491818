#include "federation/tls.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>

namespace stem::federation {

struct FreeTls {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};

namespace {

// What OpenSSL noted last, without the numbers.
std::string openssl_reason() {
  const unsigned long code = ERR_peek_last_error();
  const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  std::string text = reason != nullptr ? reason : code == 0 ? "unknown" : fmt::format("error {:x}", code);
  ERR_clear_error();
  return text;
}

Error file_error(std::string_view what, const std::string& path) {
  return {Errc::kNotFound, fmt::format("TLS: {} {} cannot be used: {}", what, path, openssl_reason())};
}

bool is_ip_address(const std::string& host) {
  unsigned char binary[sizeof(in6_addr)];
  return ::inet_pton(AF_INET, host.c_str(), binary) == 1 || ::inet_pton(AF_INET6, host.c_str(), binary) == 1;
}

Result<void> load_files(SSL_CTX* context, const TlsOptions& options) {
  if (!options.check_certificate) {
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, nullptr);
  } else {
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
    if (options.ca_file.empty()) {
      SSL_CTX_set_default_verify_paths(context);
    } else if (SSL_CTX_load_verify_file(context, options.ca_file.c_str()) != 1) {
      return file_error("CA file", options.ca_file);
    }
  }
  if (options.certificate_file.empty()) return {};
  if (SSL_CTX_use_certificate_chain_file(context, options.certificate_file.c_str()) != 1) {
    return file_error("certificate", options.certificate_file);
  }
  const std::string& key = options.key_file.empty() ? options.certificate_file : options.key_file;
  if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1) return file_error("key", key);
  return {};
}

// Whom we ask for, and whom the certificate must name.
bool set_host(SSL* ssl, const TlsOptions& options, const std::string& host) {
  if (is_ip_address(host)) {
    return !options.check_certificate || X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host.c_str()) == 1;
  }
  if (SSL_set_tlsext_host_name(ssl, host.c_str()) != 1) return false;
  SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  return !options.check_certificate || SSL_set1_host(ssl, host.c_str()) == 1;
}

}  // namespace

struct TlsSession::Parts {
  std::unique_ptr<SSL_CTX, FreeTls> context;
  std::unique_ptr<SSL, FreeTls> ssl;
  BIO* from_peer = nullptr;  // the session's
  BIO* to_peer = nullptr;

  // What a call that did not succeed means; nothing when it only wants more bytes.
  Result<void> judge(int rc) const {
    const int error = SSL_get_error(ssl.get(), rc);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return {};
    if (error == SSL_ERROR_ZERO_RETURN) return Error{Errc::kRefused, "TLS: the peer closed the session"};
    const long verdict = SSL_get_verify_result(ssl.get());
    std::string reason = openssl_reason();
    if (verdict != X509_V_OK) reason += fmt::format(": {}", X509_verify_cert_error_string(verdict));
    return Error{Errc::kRefused, fmt::format("TLS: {}", reason)};
  }
};

TlsSession::TlsSession(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
TlsSession::~TlsSession() = default;

Result<std::unique_ptr<TlsSession>> TlsSession::create(const TlsOptions& options, const std::string& url_host) {
  ERR_clear_error();
  auto parts = std::make_unique<Parts>();
  parts->context.reset(SSL_CTX_new(TLS_client_method()));
  if (!parts->context) return Error{Errc::kSystem, fmt::format("TLS: {}", openssl_reason())};
  SSL_CTX_set_min_proto_version(parts->context.get(), TLS1_2_VERSION);
  if (auto loaded = load_files(parts->context.get(), options); !loaded.ok()) return loaded.error();
  parts->ssl.reset(SSL_new(parts->context.get()));
  if (!parts->ssl) return Error{Errc::kSystem, fmt::format("TLS: {}", openssl_reason())};
  const std::string& host = options.server_name.empty() ? url_host : options.server_name;
  if (!set_host(parts->ssl.get(), options, host)) {
    return Error{Errc::kInvalidArgument, fmt::format("TLS: '{:.64}' is not the name of a host", host)};
  }
  parts->from_peer = BIO_new(BIO_s_mem());
  parts->to_peer = BIO_new(BIO_s_mem());
  SSL_set_bio(parts->ssl.get(), parts->from_peer, parts->to_peer);
  SSL_set_connect_state(parts->ssl.get());
  return std::unique_ptr<TlsSession>(new TlsSession(std::move(parts)));
}

bool TlsSession::established() const { return SSL_is_init_finished(parts_->ssl.get()) != 0; }

void TlsSession::drain(std::string& cipher_out) {
  char* bytes = nullptr;
  const long count = BIO_get_mem_data(parts_->to_peer, &bytes);
  if (count <= 0) return;
  cipher_out.append(bytes, static_cast<std::size_t>(count));
  (void)BIO_reset(parts_->to_peer);
}

Result<void> TlsSession::shake_hands(std::string& cipher_out) {
  ERR_clear_error();
  const int rc = SSL_do_handshake(parts_->ssl.get());
  drain(cipher_out);  // an alert that says why, too
  if (rc == 1) return {};
  return parts_->judge(rc);
}

Result<void> TlsSession::start(std::string& cipher_out) { return shake_hands(cipher_out); }

Result<void> TlsSession::receive(std::string_view cipher, std::string& plain, std::string& cipher_out) {
  BIO_write(parts_->from_peer, cipher.data(), static_cast<int>(cipher.size()));
  if (!established()) {
    auto shaken = shake_hands(cipher_out);
    if (!shaken.ok() || !established()) return shaken;
  }
  char record[16 * 1024];
  for (;;) {
    ERR_clear_error();
    const int rc = SSL_read(parts_->ssl.get(), record, sizeof(record));
    drain(cipher_out);
    if (rc <= 0) return parts_->judge(rc);
    plain.append(record, static_cast<std::size_t>(rc));
  }
}

Result<void> TlsSession::send(std::string_view plain, std::string& cipher_out) {
  constexpr std::size_t kMost = 1u << 20;
  while (!plain.empty()) {
    ERR_clear_error();
    const int rc = SSL_write(parts_->ssl.get(), plain.data(), static_cast<int>(std::min(plain.size(), kMost)));
    drain(cipher_out);
    if (rc <= 0) {
      auto verdict = parts_->judge(rc);
      return verdict.ok() ? Error{Errc::kSystem, "TLS: the session takes no more"} : verdict;
    }
    plain.remove_prefix(static_cast<std::size_t>(rc));
  }
  return {};
}

}  // namespace stem::federation
