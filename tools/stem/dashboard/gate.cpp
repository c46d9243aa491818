#include "tools/stem/dashboard/gate.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <nlohmann/json.hpp>

namespace stem::cli {
namespace {

constexpr std::size_t kLongestPath = 1024;
constexpr std::size_t kShortestToken = 16;
constexpr std::size_t kLongestToken = 512;

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

// "localhost:9464" -> "localhost", "[::1]:9464" -> "::1"; empty for what is neither a name nor an address.
std::string_view name_of(std::string_view host) {
  if (!host.starts_with('[')) return host.substr(0, host.find(':'));
  const std::size_t end = host.find(']');
  if (end == std::string_view::npos || (end + 1 < host.size() && host[end + 1] != ':')) return {};
  return host.substr(1, end - 1);
}

bool is_address(std::string_view name) {
  const std::string text(name);
  in6_addr ignored{};
  return ::inet_pton(AF_INET, text.c_str(), &ignored) == 1 || ::inet_pton(AF_INET6, text.c_str(), &ignored) == 1;
}

bool is_sign_of_life(std::string_view path) { return path == "/healthz" || path == "/readyz"; }

bool is_data(std::string_view path) { return path == "/api" || path.starts_with("/api/") || path == "/metrics"; }

// What a browser says of the page that asks; other programs say nothing.
bool comes_from_elsewhere(const WebRequest& request) {
  if (const std::string origin = request.header("Origin"); !origin.empty()) {
    const std::string host = request.header("Host");
    if (origin != "http://" + host && origin != "https://" + host) return true;
  }
  const std::string site = request.header("Sec-Fetch-Site");
  return !site.empty() && site != "same-origin" && site != "none";
}

}  // namespace

WebAnswer refusal(int status, std::string_view why, std::string_view hint) {
  nlohmann::ordered_json body{{"error", why}};
  if (!hint.empty()) body["hint"] = hint;
  return {status, "application/json", body.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace), {}};
}

Gate::Gate(const GateOptions& options) : has_token_(!options.token.empty()), token_for_(options.token_for) {
  for (const std::string& host : options.hosts) hosts_.push_back(lower(host));
  ::SHA256(reinterpret_cast<const unsigned char*>(options.token.data()), options.token.size(), token_.data());
}

// An address cannot be made to mean another host; a name can, by whoever owns it.
bool Gate::knows_host(std::string_view host) const {
  const std::string name = lower(name_of(host));
  return is_address(name) || name == "localhost" || std::find(hosts_.begin(), hosts_.end(), name) != hosts_.end();
}

// Digests are compared, so that the time says neither how long the token is nor how much of it was right.
bool Gate::has_good_token(const WebRequest& request) const {
  constexpr std::string_view kScheme = "Bearer ";
  const std::string header = request.header("Authorization");
  if (!has_token_ || !header.starts_with(kScheme)) return false;
  Digest given{};
  ::SHA256(reinterpret_cast<const unsigned char*>(header.data() + kScheme.size()), header.size() - kScheme.size(),
           given.data());
  return ::CRYPTO_memcmp(given.data(), token_.data(), given.size()) == 0;
}

// One branch per reason to refuse; the last lets in.
std::optional<WebAnswer> Gate::refuse(const WebRequest& request) const {
  const bool writes = request.method == "POST";
  if (request.path.size() > kLongestPath) return refusal(414, "the path is too long");
  // No data, and asked for by whatever name a load balancer or an orchestrator has.
  if (!writes && is_sign_of_life(request.path)) return std::nullopt;
  const std::string host = request.header("Host");
  if (!knows_host(host))
    return refusal(421, fmt::format("'{}' is no name of this dashboard", host.substr(0, 100)),
                   "ask by address, or start it with --host NAME");
  if ((writes || is_data(request.path)) && comes_from_elsewhere(request))
    return refusal(403, "a page of another site may not ask this");
  if (writes && !has_token_)
    return refusal(403, "this dashboard only shows", "start it with --token-file FILE to act from it");
  const bool needs_token = writes || (token_for_ == TokenFor::kEverything && is_data(request.path));
  if (needs_token && !has_good_token(request)) {
    WebAnswer answer = refusal(401, "the token is missing or wrong", "it is in the file of --token-file");
    answer.headers["WWW-Authenticate"] = "Bearer";
    return answer;
  }
  // A form of another site cannot say this without being asked first, which we never answer.
  if (writes && !request.header("Content-Type").starts_with("application/json"))
    return refusal(415, "the body must be application/json");
  return std::nullopt;
}

Result<std::string> read_token_file(const std::string& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) return system_error("--token-file " + path);
  if (!S_ISREG(st.st_mode)) return Error{Errc::kInvalidArgument, path + " is no file"};
  if ((st.st_mode & 077) != 0)
    return Error{Errc::kInvalidArgument, path + " can be read or written by others; chmod 600 " + path};
  std::ifstream file(path);
  std::string token;
  std::getline(file, token);
  if (!token.empty() && token.back() == '\r') token.pop_back();
  const bool plain = std::all_of(token.begin(), token.end(), [](unsigned char c) { return c > 32 && c < 127; });
  if (token.size() < kShortestToken || token.size() > kLongestToken || !plain)
    return Error{Errc::kInvalidArgument,
                 fmt::format("{}: its first line must be a token of {} to {} letters, digits or signs; "
                             "'openssl rand -hex 32 > {}' makes one",
                             path, kShortestToken, kLongestToken, path)};
  return token;
}

}  // namespace stem::cli
