// Who may ask the dashboard what. A page that a browser of this host shows, from wherever it came, must not become a way
// into the segment: not by a name that suddenly means this host (DNS rebinding), not by a form of another site (CSRF).
//
// Thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "tools/stem/dashboard/web_server.hpp"

namespace stem::cli {

enum class TokenFor { kWriting, kEverything };

struct GateOptions {
  std::vector<std::string> hosts;  // names by which clients may call us, beside addresses and localhost
  std::string token;               // empty = nobody may write
  TokenFor token_for = TokenFor::kWriting;
};

class Gate {
 public:
  explicit Gate(const GateOptions& options);

  // Nothing: come in.
  [[nodiscard]] std::optional<WebAnswer> refuse(const WebRequest& request) const;
  [[nodiscard]] bool takes_writes() const { return has_token_; }
  [[nodiscard]] TokenFor token_for() const { return token_for_; }

 private:
  using Digest = std::array<unsigned char, 32>;
  [[nodiscard]] bool knows_host(std::string_view host) const;
  [[nodiscard]] bool has_good_token(const WebRequest& request) const;

  std::vector<std::string> hosts_;
  bool has_token_ = false;
  Digest token_{};
  TokenFor token_for_;
};

// The token in a file: at least 16 characters, on one line, in a file that nobody else can read.
Result<std::string> read_token_file(const std::string& path);

// {"error": why, "hint": what to do}
WebAnswer refusal(int status, std::string_view why, std::string_view hint = {});

}  // namespace stem::cli
