#include "federation/blocking_client.hpp"

#include <algorithm>
#include <ctime>
#include <optional>
#include <utility>

#include "base/clock.hpp"

namespace stem::federation {
namespace {

constexpr std::size_t kMostHomes = 4096;
constexpr int kQuickRedirects = 4;  // beyond that the nodes do not agree yet
constexpr std::int64_t kPauseNs = 20'000'000;

void pause() {
  const timespec time{0, kPauseNs};
  ::nanosleep(&time, nullptr);
}

// What a cluster goes by in our keys, which all begin with it: "{stem:mail}". Empty for a command without one.
std::string_view tag_of(const std::vector<std::string_view>& argv) {
  for (std::size_t i = 1; i < argv.size(); ++i)
    if (argv[i].starts_with('{')) return argv[i].substr(0, argv[i].find('}') + 1);
  return {};
}

Result<OwnedReply> answer_of(Result<OwnedReply> reply) {
  if (reply.ok() && reply->kind == Reply::Kind::kError) return Error{Errc::kRefused, reply->text};
  return reply;
}

}  // namespace

OwnedReply::OwnedReply(const Reply& reply)
    : kind(reply.kind), error(reply.error), integer(reply.integer), text(reply.text) {
  elements.reserve(reply.elements.size());
  for (const Reply& element : reply.elements) elements.emplace_back(element);
}

struct BlockingClient::Node {
  std::string fault;
  std::unique_ptr<RedisConnection> redis;
};

BlockingClient::BlockingClient(std::unique_ptr<io::Loop> loop, RedisOptions options)
    : loop_(std::move(loop)), options_(std::move(options)), last_{options_.url.host, options_.url.port} {
  options_.quiet = true;  // the caller gets the reason
}

BlockingClient::~BlockingClient() = default;

Result<std::unique_ptr<BlockingClient>> BlockingClient::connect(RedisOptions options) {
  auto loop = io::Loop::create();
  if (!loop.ok()) return loop.error();
  std::unique_ptr<BlockingClient> client(new BlockingClient(*std::move(loop), std::move(options)));
  const auto first = client->node_at(client->last_);
  if (!first.ok()) return first.error();
  client->first_ = *first;
  return client;
}

// Connected, or the reason why not.
Result<BlockingClient::Node*> BlockingClient::node_at(const NodeAddress& address) {
  std::unique_ptr<Node>& node = nodes_[address];
  if (node != nullptr) return node.get();
  node = std::make_unique<Node>();
  RedisOptions options = options_;
  options.follows_slot = false;  // it is this node that is asked
  if (address != NodeAddress{options_.url.host, options_.url.port}) {
    options.url.socket_path.clear();
    options.url.host = address.host;
    options.url.port = address.port;
  }
  RedisEvents events;
  events.failed = [at = node.get()](const std::string& reason) {
    if (at->fault.empty()) at->fault = reason;
  };
  node->redis = std::make_unique<RedisConnection>(*loop_, std::move(options), std::move(events));
  node->redis->start();
  while (!node->redis->is_ready() && node->fault.empty()) {
    if (auto turned = loop_->run_once(io::kForever); !turned.ok()) return turned.error();
  }
  if (!node->fault.empty()) return Error{Errc::kRefused, node->fault};
  return node.get();
}

// One node's reply, also when that is an error.
Result<OwnedReply> BlockingClient::tell(Node& node, const std::vector<std::string_view>& argv, bool asking) {
  if (!node.redis->is_ready()) return Error{Errc::kRefused, node.fault};
  std::optional<OwnedReply> answer;
  // The leave to ask holds for the next command alone, which goes out in the same send.
  if (asking) (void)node.redis->command({"ASKING"}, nullptr);
  const Queued queued = node.redis->command(std::span(argv), [&answer](const Reply& reply) { answer.emplace(reply); });
  if (queued != Queued::kYes) return Error{Errc::kRefused, "the command is larger than may be in flight"};
  // The watchdog ends the wait.
  while (!answer) {
    if (auto turned = loop_->run_once(io::kForever); !turned.ok()) return turned.error();
  }
  if (answer->error == RedisError::kLost) {
    const bool silent = answer->text.starts_with("no reply for");
    return Error{silent ? Errc::kTimeout : Errc::kRefused, answer->text};
  }
  return *std::move(answer);
}

Result<OwnedReply> BlockingClient::ask(std::vector<std::string_view> argv) {
  return answer_of(options_.follows_slot ? ask_cluster(argv) : tell(*first_, argv, /*asking=*/false));
}

// A redirected command was not carried out where it was refused, so it may be said again.
Result<OwnedReply> BlockingClient::ask_cluster(const std::vector<std::string_view>& argv) {
  const std::int64_t until_ns = base::monotonic_ns() + options_.progress_timeout_ns;
  const std::string_view tag = tag_of(argv);
  const auto home = homes_.find(tag);
  NodeAddress at = home != homes_.end() ? home->second : last_;
  NodeAddress asks_at = at;
  bool asking = false;
  for (int redirects = 0;; ++redirects) {
    const auto node = node_at(asks_at);
    if (!node.ok()) return node.error();
    auto reply = tell(**node, argv, asking);
    if (!reply.ok()) return reply;
    const RedisError error = reply->error;
    const auto to = error == RedisError::kMoved || error == RedisError::kAsk ? parse_redirect(reply->text)
                                                                             : Result<Redirect>(Redirect{});
    const bool settles = error == RedisError::kTryAgain || error == RedisError::kClusterDown;
    if (!to.ok() || (!settles && to->port == 0)) {
      last_ = at;
      return reply;
    }
    if (base::monotonic_ns() >= until_ns) return Error{Errc::kTimeout, reply->text};
    asking = error == RedisError::kAsk;
    if (!settles) asks_at = {to->host.empty() ? asks_at.host : to->host, to->port};
    if (settles) asks_at = at;
    if (error == RedisError::kMoved) {
      at = asks_at;
      if (homes_.size() >= kMostHomes) homes_.clear();
      if (!tag.empty()) homes_.insert_or_assign(std::string(tag), at);
    }
    if (settles || redirects >= kQuickRedirects) pause();
  }
}

Result<std::vector<NodeAddress>> BlockingClient::masters() {
  std::vector<NodeAddress> found;
  if (options_.follows_slot) {
    const auto lines = ask({"CLUSTER", "NODES"});
    if (!lines.ok()) return lines.error();
    each_node(lines->text, last_, [&found](const NodeLine& node) {
      if (node.serves) found.push_back(node.address);
    });
  }
  if (found.empty()) found.push_back(last_);
  return found;
}

// False when the time is over.
Result<bool> BlockingClient::scan(Node& node, std::string_view pattern, std::string_view type, std::int64_t until_ns,
                                  std::set<std::string>& keys) {
  std::string cursor = "0";
  do {
    if (base::monotonic_ns() > until_ns) return false;
    const auto found =
        answer_of(tell(node, {"SCAN", cursor, "MATCH", pattern, "COUNT", "1000", "TYPE", type}, /*asking=*/false));
    if (!found.ok()) return found.error();
    if (found->elements.size() != 2) break;
    cursor = found->elements[0].text;
    for (const OwnedReply& key : found->elements[1].elements) keys.insert(key.text);
  } while (cursor != "0");
  return true;
}

// A key on its way from one node to another may be at neither when it is looked at. So a cluster is looked at twice.
Result<std::vector<std::string>> BlockingClient::keys_like(std::string_view pattern, std::string_view type,
                                                           std::int64_t until_ns, bool* all) {
  std::set<std::string> keys;
  bool in_time = true;
  for (int looks = options_.follows_slot ? 2 : 1; looks > 0 && in_time; --looks) {
    const auto nodes = masters();
    if (!nodes.ok()) return nodes.error();
    for (const NodeAddress& address : *nodes) {
      const auto node = node_at(address);
      if (!node.ok()) return node.error();
      const auto scanned = scan(**node, pattern, type, until_ns, keys);
      if (!scanned.ok()) return scanned.error();
      in_time = in_time && *scanned;
    }
  }
  if (all != nullptr) *all = in_time;
  return std::vector<std::string>(keys.begin(), keys.end());
}

bool BlockingClient::is_ready() const {
  return std::all_of(nodes_.begin(), nodes_.end(), [](const auto& node) { return node.second->redis->is_ready(); });
}

const Session& BlockingClient::session() const { return first_->redis->session(); }

}  // namespace stem::federation
