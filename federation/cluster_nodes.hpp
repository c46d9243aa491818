// Where the nodes of a Redis Cluster are, as far as one connection has heard: one that follows its queue's slot.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace stem::federation {

struct NodeAddress {
  std::string host;
  std::uint16_t port = 0;
  bool operator==(const NodeAddress&) const = default;
};

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

  // The reply to CLUSTER NODES: a node a line, `ID HOST:PORT@BUS[,NAME] FLAGS ...`. What is no address is passed over.
  void learn_from(std::string_view lines) {
    while (!lines.empty()) {
      const std::string_view line = lines.substr(0, lines.find('\n'));
      lines.remove_prefix(std::min(line.size() + 1, lines.size()));
      const std::size_t from = line.find(' '), to = line.find('@');
      if (from == line.npos || to == line.npos || to <= from + 1) continue;
      const std::string_view address = line.substr(from + 1, to - from - 1);
      const std::size_t colon = address.rfind(':');
      if (colon == address.npos || colon == 0) continue;
      NodeAddress node{std::string(address.substr(0, colon)), 0};
      const std::string_view port = address.substr(colon + 1);
      const auto [end, bad] = std::from_chars(port.data(), port.data() + port.size(), node.port);
      if (bad == std::errc() && end == port.data() + port.size() && node.port != 0) learn(node);
    }
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
