// Where the nodes of a Redis Cluster are, as far as a client has heard.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace stem::federation {

struct NodeAddress {
  std::string host;
  std::uint16_t port = 0;
  auto operator<=>(const NodeAddress&) const = default;
};

// One line of the reply to CLUSTER NODES: `ID HOST:PORT@BUS[,NAME] FLAGS ...`.
struct NodeLine {
  NodeAddress address;
  bool serves = false;  // a master that is not known to have failed

  // Nothing when there is no address in it. A node that does not know its own is at `asked`, which answered.
  static std::optional<NodeLine> read(std::string_view line, const NodeAddress& asked = {}) {
    const std::size_t from = line.find(' '), to = line.find('@');
    if (from == line.npos || to == line.npos || to <= from + 1) return std::nullopt;
    const std::string_view address = line.substr(from + 1, to - from - 1);
    const std::size_t colon = address.rfind(':');
    if (colon == address.npos) return std::nullopt;
    NodeLine node{{std::string(address.substr(0, colon)), 0}, false};
    if (node.address.host.empty()) node.address.host = asked.host;
    const std::string_view port = address.substr(colon + 1);
    const auto [end, bad] = std::from_chars(port.data(), port.data() + port.size(), node.address.port);
    if (bad != std::errc() || end != port.data() + port.size() || node.address.port == 0 || node.address.host.empty())
      return std::nullopt;
    const std::size_t flags = std::min(line.find(' ', to), line.size());
    std::string_view words = line.substr(std::min(flags + 1, line.size()));
    words = words.substr(0, words.find(' '));
    node.serves = has_flag(words, "master") && !has_flag(words, "fail");
    return node;
  }

 private:
  // `words`: flags with commas between them; one may begin with another ("fail", "fail?", "nofailover").
  static bool has_flag(std::string_view words, std::string_view flag) {
    while (!words.empty()) {
      const std::string_view word = words.substr(0, words.find(','));
      if (word == flag) return true;
      words.remove_prefix(std::min(word.size() + 1, words.size()));
    }
    return false;
  }
};

// Calls `take` with each line's node.
template <class Take>
void each_node(std::string_view lines, const NodeAddress& asked, Take&& take) {
  while (!lines.empty()) {
    const std::string_view line = lines.substr(0, lines.find('\n'));
    lines.remove_prefix(std::min(line.size() + 1, lines.size()));
    if (const auto node = NodeLine::read(line, asked)) take(*node);
  }
}

// Of a client that is at one node at a time.
class ClusterNodes {
 public:
  static constexpr std::size_t kMost = 1024;

  explicit ClusterNodes(NodeAddress first) : nodes_{std::move(first)} {}

  // The one to connect to.
  const NodeAddress& current() const { return nodes_[at_]; }
  // A node said that this one has the slot.
  void move_to(const NodeAddress& node) {
    learn(node);
    const auto found = std::find(nodes_.begin(), nodes_.end(), node);
    if (found != nodes_.end()) at_ = static_cast<std::size_t>(found - nodes_.begin());
  }
  // It does not answer: another one knows.
  void next() { at_ = (at_ + 1) % nodes_.size(); }

  // The reply to CLUSTER NODES. What is no address is passed over.
  void learn_from(std::string_view lines) {
    each_node(lines, {}, [this](const NodeLine& node) { learn(node.address); });
  }
  std::size_t size() const { return nodes_.size(); }

 private:
  void learn(const NodeAddress& node) {
    if (nodes_.size() < kMost && std::find(nodes_.begin(), nodes_.end(), node) == nodes_.end()) nodes_.push_back(node);
  }

  std::vector<NodeAddress> nodes_;
  std::size_t at_ = 0;
};

}  // namespace stem::federation
