#include "federation/redis_url.hpp"

#include <fmt/format.h>

#include <charconv>
#include <optional>

namespace stem::federation {
namespace {

constexpr std::string_view kForm = "redis://[[user]:password@]host[:port][/db], rediss://... or unix:///path[?db=N]";

// Never with the text itself: it may hold a password.
Error wrong(std::string_view why) {
  return {Errc::kInvalidArgument, fmt::format("not a Redis address: {} (expected {})", why, kForm)};
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::string> unescaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const int high = hex_digit(text[i + 1]);
    const int low = hex_digit(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

template <class Number>
bool read_whole(std::string_view text, Number& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

// Takes `user:password@` off the front.
Result<void> read_credentials(std::string_view& rest, std::size_t authority_bytes, RedisUrl& url) {
  const std::size_t at = rest.substr(0, authority_bytes).rfind('@');
  if (at == std::string_view::npos) return {};
  const std::string_view text = rest.substr(0, at);
  rest.remove_prefix(at + 1);
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) return wrong("before '@' there must be user:password or :password");
  const auto user = unescaped(text.substr(0, colon));
  const auto password = unescaped(text.substr(colon + 1));
  if (!user || !password) return wrong("a '%' in user or password is not followed by two hexadecimal digits");
  if (password->empty()) return wrong("the password is empty");
  url.user = *user;
  url.password = *password;
  return {};
}

Result<void> read_host_and_port(std::string_view text, RedisUrl& url) {
  std::string_view port;
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos) return wrong("'[' is not closed");
    url.host = text.substr(1, close - 1);
    port = text.substr(close + 1);
  } else {
    const std::size_t colon = std::min(text.find(':'), text.size());
    url.host = text.substr(0, colon);
    port = text.substr(colon);
  }
  if (url.host.empty()) return wrong("the host is missing");
  if (url.host.find_first_of(std::string_view(" \t\n\r\0", 5)) != std::string::npos)
    return wrong("a blank in the host");
  if (port.empty()) return {};
  if (!port.starts_with(':') || !read_whole(port.substr(1), url.port) || url.port == 0) {
    return wrong("the port is not a number from 1 to 65535");
  }
  return {};
}

Result<void> read_database(std::string_view text, RedisUrl& url) {
  if (text.empty() || read_whole(text, url.database)) return {};
  return wrong("the database is not a number");
}

Result<RedisUrl> read_unix(std::string_view rest) {
  RedisUrl url;
  if (auto read = read_credentials(rest, rest.find('/'), url); !read.ok()) return read.error();
  std::string_view query;
  if (const std::size_t mark = rest.find('?'); mark != std::string_view::npos) {
    query = rest.substr(mark + 1);
    rest = rest.substr(0, mark);
  }
  const auto path = unescaped(rest);
  if (!path || !path->starts_with('/')) return wrong("the path of the socket must begin with '/'");
  url.socket_path = *path;
  if (query.empty()) return url;
  if (!query.starts_with("db=")) return wrong("after '?' only db=N is known");
  if (auto read = read_database(query.substr(3), url); !read.ok()) return read.error();
  return url;
}

}  // namespace

std::string RedisUrl::shown() const {
  const std::string who = password.empty() ? "" : fmt::format("{}:***@", user);
  if (is_unix()) return fmt::format("unix://{}{}{}", who, socket_path, database ? fmt::format("?db={}", database) : "");
  const bool six = host.find(':') != std::string::npos;
  return fmt::format("{}://{}{}{}{}:{}{}", tls ? "rediss" : "redis", who, six ? "[" : "", host, six ? "]" : "", port,
                     database ? fmt::format("/{}", database) : "");
}

Result<RedisUrl> parse_redis_url(std::string_view text) {
  const std::size_t mark = text.find("://");
  if (mark == std::string_view::npos) return wrong("there is no '://'");
  const std::string_view scheme = text.substr(0, mark);
  std::string_view rest = text.substr(mark + 3);
  if (scheme == "unix") return read_unix(rest);
  if (scheme != "redis" && scheme != "rediss") return wrong("it begins with neither redis, rediss nor unix");
  RedisUrl url;
  url.tls = scheme == "rediss";
  if (auto read = read_credentials(rest, rest.find('/'), url); !read.ok()) return read.error();
  const std::size_t slash = std::min(rest.find('/'), rest.size());
  if (auto read = read_host_and_port(rest.substr(0, slash), url); !read.ok()) return read.error();
  if (slash < rest.size()) {
    if (auto read = read_database(rest.substr(slash + 1), url); !read.ok()) return read.error();
  }
  return url;
}

}  // namespace stem::federation
