#include "federation/redis_url.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

namespace stem::federation {
namespace {

constexpr std::string_view kForm =
    "redis://[[user]:password@]host[:port][/db], rediss://..., unix:///path[?db=N] or "
    "redis+sentinel://host[:port][,...]/MASTER[/db]";
constexpr std::uint16_t kSentinelPort = 26379;

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

// `out.port` stays what it is when the text names none.
Result<void> read_host_and_port(std::string_view text, HostPort& out) {
  std::string_view port;
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos) return wrong("'[' is not closed");
    out.host = text.substr(1, close - 1);
    port = text.substr(close + 1);
  } else {
    const std::size_t colon = std::min(text.find(':'), text.size());
    out.host = text.substr(0, colon);
    port = text.substr(colon);
  }
  if (out.host.empty()) return wrong("the host is missing");
  if (out.host.find_first_of(std::string_view(" \t\n\r\0", 5)) != std::string::npos)
    return wrong("a blank in the host");
  if (port.empty()) return {};
  if (!port.starts_with(':') || !read_whole(port.substr(1), out.port) || out.port == 0) {
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

// host[:port][,host[:port]...]/MASTER[/db]
Result<void> read_sentinels(std::string_view rest, RedisUrl& url) {
  const std::size_t slash = std::min(rest.find('/'), rest.size());
  std::string_view hosts = rest.substr(0, slash);
  std::string_view master = rest.substr(std::min(slash + 1, rest.size()));
  while (true) {
    const std::size_t comma = std::min(hosts.find(','), hosts.size());
    HostPort sentinel{.host = "", .port = kSentinelPort};
    if (auto read = read_host_and_port(hosts.substr(0, comma), sentinel); !read.ok()) return read;
    url.sentinels.push_back(std::move(sentinel));
    if (comma == hosts.size()) break;
    hosts.remove_prefix(comma + 1);
  }
  const std::size_t second = std::min(master.find('/'), master.size());
  const auto name = unescaped(master.substr(0, second));
  if (!name || name->empty()) return wrong("the name of the master is missing");
  url.master_name = *name;
  return second == master.size() ? Result<void>() : read_database(master.substr(second + 1), url);
}

std::string shown_host(const HostPort& at) {
  return at.host.find(':') == std::string::npos ? fmt::format("{}:{}", at.host, at.port)
                                                : fmt::format("[{}]:{}", at.host, at.port);
}

}  // namespace

std::string RedisUrl::shown() const {
  const std::string who = password.empty() ? "" : fmt::format("{}:***@", user);
  if (is_unix()) return fmt::format("unix://{}{}{}", who, socket_path, database ? fmt::format("?db={}", database) : "");
  const std::string db = database ? fmt::format("/{}", database) : "";
  const std::string_view scheme = tls ? "rediss" : "redis";
  if (!has_sentinels()) return fmt::format("{}://{}{}{}", scheme, who, shown_host({host, port}), db);
  std::string hosts;
  for (const HostPort& sentinel : sentinels) hosts += (hosts.empty() ? "" : ",") + shown_host(sentinel);
  return fmt::format("{}+sentinel://{}{}/{}{}", scheme, who, hosts, master_name, db);
}

Result<RedisUrl> parse_redis_url(std::string_view text) {
  const std::size_t mark = text.find("://");
  if (mark == std::string_view::npos) return wrong("there is no '://'");
  const std::string_view scheme = text.substr(0, mark);
  std::string_view rest = text.substr(mark + 3);
  if (scheme == "unix") return read_unix(rest);
  const bool with_sentinels = scheme.ends_with("+sentinel");
  const std::string_view kind = scheme.substr(0, scheme.find('+'));
  if ((kind != "redis" && kind != "rediss") || (kind != scheme && !with_sentinels)) {
    return wrong("it begins with neither redis, rediss nor unix");
  }
  RedisUrl url;
  url.tls = kind == "rediss";
  if (auto read = read_credentials(rest, rest.find('/'), url); !read.ok()) return read.error();
  if (with_sentinels) {
    if (auto read = read_sentinels(rest, url); !read.ok()) return read.error();
    return url;
  }
  const std::size_t slash = std::min(rest.find('/'), rest.size());
  HostPort server{.host = "", .port = url.port};
  if (auto read = read_host_and_port(rest.substr(0, slash), server); !read.ok()) return read.error();
  url.host = std::move(server.host);
  url.port = server.port;
  if (slash < rest.size()) {
    if (auto read = read_database(rest.substr(slash + 1), url); !read.ok()) return read.error();
  }
  return url;
}

}  // namespace stem::federation
