#include "tests/simulation/canary.hpp"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <utility>

#include "federation/entry_id.hpp"
#include "federation/limit_scripts.hpp"
#include "federation/scripts.hpp"
#include "tests/simulation/model_reply.hpp"

namespace stem::simulation {
namespace {

using federation::Queued;
using federation::Reply;
using federation::ReplyHandler;

constexpr std::string_view kNames[] = {
    "none",           "resend-unread",     "no-fence",    "let-go-unanswered", "acknowledge-early",
    "no-renewal",     "impatient-reclaim", "no-delete",   "no-result",         "settle-unasked",
    "forget-pending", "promote-twice",     "key-unasked", "key-kept",          "places-unasked",
    "trim-unasked"};
static_assert(std::size(kNames) == static_cast<std::size_t>(kLastCanary) + 1);

bool is_script(std::span<const std::string_view> argv, std::string_view script) {
  return argv[0] == "EVAL" && argv[1] == script;
}

Reply text(std::string_view words) {
  Reply reply;
  reply.kind = Reply::Kind::kString;
  reply.text = words;
  return reply;
}

Reply integer(std::int64_t value) {
  Reply reply;
  reply.kind = Reply::Kind::kInteger;
  reply.integer = value;
  return reply;
}

Reply array(std::span<const Reply> elements) {
  Reply reply;
  reply.kind = Reply::Kind::kArray;
  reply.elements = elements;
  return reply;
}

std::size_t key_count(std::span<const std::string_view> argv) {
  std::size_t keys = 0;
  (void)std::from_chars(argv[2].data(), argv[2].data() + argv[2].size(), keys);
  return keys;
}

}  // namespace

std::string_view to_string(Canary canary) { return kNames[static_cast<int>(canary)]; }

bool parse(std::string_view text, Canary& canary) {
  const auto* found = std::find(std::begin(kNames), std::end(kNames), text);
  if (found == std::end(kNames)) return false;
  canary = static_cast<Canary>(found - std::begin(kNames));
  return true;
}

Queued CanaryRedis::command(Argv argv, ReplyHandler handler, std::int64_t block_ns) {
  static const Reply kNothing[] = {text(""), array({}), array({})};
  static const Reply kNoneEnded[] = {text("-"), array({}), integer(0)};
  const bool reads = argv[0] == "XREADGROUP";
  switch (canary_) {
    case Canary::kResendUnread:
      if (is_script(argv, federation::kReadBackScript)) return pretend(array(kNothing), std::move(handler));
      if (is_script(argv, federation::kHaveResultScript)) return forget_results(argv, std::move(handler));
      if (is_script(argv, federation::kEndedScript)) return pretend(array(kNoneEnded), std::move(handler));
      break;
    case Canary::kNoFence:
      if (argv[0] == "CLIENT") return pretend(text(""), std::move(handler));
      break;
    case Canary::kLetGoUnanswered:
      if (argv[0] == "XADD") return let_go_unanswered(argv, std::move(handler));
      break;
    case Canary::kAcknowledgeEarly:
      if (reads) return acknowledge_early(argv, std::move(handler), block_ns);
      break;
    case Canary::kNoRenewal:
      if (is_script(argv, federation::kRenewManyScript)) return pretend(array({}), std::move(handler));
      if (is_script(argv, federation::kRenewScript)) return pretend(integer(1), std::move(handler));
      break;
    case Canary::kImpatientReclaim:
      if ((argv[0] == "XPENDING" && argv[3] == "IDLE") || (argv[0] == "XCLAIM" && argv.back() != "JUSTID"))
        return reclaim_impatiently(argv, std::move(handler));
      break;
    case Canary::kNoDelete:
    case Canary::kNoResult:
      if (is_script(argv, federation::kSettleManyScript)) return settle_in_part(argv, std::move(handler));
      break;
    case Canary::kTrimUnasked:
      if (is_script(argv, federation::kSettleManyScript)) return trim_unasked(argv, std::move(handler));
      break;
    case Canary::kSettleUnasked:
      if (is_script(argv, federation::kSettleScript) && key_count(argv) == 3 && argv.back().empty())
        return settle_unasked(argv, std::move(handler));
      break;
    case Canary::kForgetPending:
      if (argv[0] == "XPENDING" && argv[3] != "IDLE") return pretend(array({}), std::move(handler));
      break;
    case Canary::kPromoteTwice:
      if (is_script(argv, federation::kPromoteScript)) return promote_twice(argv, std::move(handler));
      break;
    case Canary::kKeyUnasked:
      if (is_script(argv, federation::kAddUniqueScript)) return add_unasked(argv, std::move(handler));
      break;
    case Canary::kKeyKept:
      if (is_script(argv, federation::kSettleScript) && key_count(argv) == 4)
        return settle_without_key(argv, std::move(handler));
      break;
    case Canary::kPlacesUnasked:
      if (is_script(argv, federation::kTakePlacesScript)) return take_unasked(argv, std::move(handler));
      break;
    case Canary::kNone: break;
  }
  return to_.command(argv, std::move(handler), block_ns);
}

Queued CanaryRedis::pretend(const Reply& said, ReplyHandler handler) {
  return to_.command(
      {"PING"}, [said, handler = std::move(handler)](const Reply& reply) { handler(reply.is_error() ? reply : said); });
}

Queued CanaryRedis::let_go_unanswered(Argv argv, ReplyHandler handler) {
  const std::vector<std::string> words(argv.begin(), argv.end());
  return to_.command({"PING"}, [this, words, handler = std::move(handler)](const Reply& reply) {
    if (reply.is_error()) return handler(reply);
    const std::vector<std::string_view> views(words.begin(), words.end());
    (void)to_.command(std::span(views), [](const Reply&) {});
    handler(text("1-1"));
  });
}

Queued CanaryRedis::acknowledge_early(Argv argv, ReplyHandler handler, std::int64_t block_ns) {
  const std::string group(argv[2]);
  return to_.command(
      argv,
      [this, group, handler = std::move(handler)](const Reply& reply) {
        for (const Reply& stream : reply.elements) {
          for (const Reply& entry : stream.elements[1].elements) {
            const std::string_view key = stream.elements[0].text, id = entry.elements[0].text;
            (void)to_.command({"XACK", key, group, id}, [](const Reply&) {});
            (void)to_.command({"XDEL", key, id}, [](const Reply&) {});
          }
        }
        handler(reply);
      },
      block_ns);
}

Queued CanaryRedis::reclaim_impatiently(Argv argv, ReplyHandler handler) {
  std::vector<std::string_view> words(argv.begin(), argv.end());
  words[4] = "0";  // least idle time, of both
  if (argv[0] == "XCLAIM") return to_.command(std::span<const std::string_view>(words), std::move(handler));
  return to_.command(std::span<const std::string_view>(words), [handler = std::move(handler)](const Reply& reply) {
    if (!reply.is_array()) return handler(reply);
    OwnedReply said(reply);
    for (OwnedReply& entry : said.elements) entry.elements[2].integer = 86'400'000;
    const ShownReply shown(said);
    handler(shown.get());
  });
}

// EVAL script n result...
Queued CanaryRedis::forget_results(Argv argv, ReplyHandler handler) {
  const std::vector<Reply> none(key_count(argv), integer(0));
  return pretend(array(none), std::move(handler));
}

// EVAL script n stream ended result... group ended-ttl marks behind count entry... (result ttl)...
Queued CanaryRedis::settle_in_part(Argv argv, ReplyHandler handler) {
  const std::size_t keys = key_count(argv);
  const Argv args = argv.subspan(3 + keys);
  const Argv entries = args.subspan(5, std::stoul(std::string(args[4])));
  std::size_t at = 5 + entries.size();
  if (canary_ == Canary::kNoDelete) {
    for (std::size_t i = 2; i < keys; ++i, at += 2)
      (void)to_.command({"SET", argv[3 + i], args[at], "PX", args[at + 1]}, [](const Reply&) {});
    if (!args[2].empty()) (void)to_.command({"XADD", argv[4], "*", "ended", args[2]}, [](const Reply&) {});
  } else {
    for (const std::string_view entry : entries) (void)to_.command({"XDEL", argv[3], entry}, [](const Reply&) {});
  }
  std::vector<std::string_view> acknowledge{"XACK", argv[3], args[0]};
  acknowledge.insert(acknowledge.end(), entries.begin(), entries.end());
  return to_.command(std::span<const std::string_view>(acknowledge), std::move(handler));
}

// As settle_in_part() has it.
Queued CanaryRedis::trim_unasked(Argv argv, ReplyHandler handler) {
  const Argv args = argv.subspan(3 + key_count(argv));
  const auto last = federation::parse_entry_id(args[4 + std::stoul(std::string(args[4]))]).value();
  (void)to_.command({"XTRIM", argv[3], "MINID", last.next().text()}, [](const Reply&) {});
  return to_.command(argv, std::move(handler), 0);
}

// EVAL script 3 stream dead result group consumer entry result ttl id letter
Queued CanaryRedis::settle_unasked(Argv argv, ReplyHandler handler) {
  return to_.command({"EVAL", federation::kSettleManyScript, "3", argv[3], "none", argv[5], argv[6], "1000", "", "",
                      "1", argv[8], argv[9], argv[10]},
                     std::move(handler));
}

// EVAL script 4 stream dead result key group consumer entry result ttl id letter
Queued CanaryRedis::settle_without_key(Argv argv, ReplyHandler handler) {
  std::vector<std::string_view> words(argv.begin(), argv.end());
  words[2] = "3";
  words.erase(words.begin() + 6);
  return to_.command(std::span<const std::string_view>(words), std::move(handler));
}

// EVAL script 1 key host needs wants limit ttl turn
Queued CanaryRedis::take_unasked(Argv argv, ReplyHandler handler) {
  const std::int64_t wants = std::stoll(std::string(argv[6]));
  return to_.command({"PING"}, [wants, handler = std::move(handler)](const Reply& reply) {
    const Reply said[] = {integer(wants), integer(wants), integer(0)};
    handler(reply.is_error() ? reply : array(said));
  });
}

// EVAL script 2 stream key id ttl field...
Queued CanaryRedis::add_unasked(Argv argv, ReplyHandler handler) {
  std::vector<std::string_view> add{"XADD", argv[3], "*"};
  add.insert(add.end(), argv.begin() + 7, argv.end());
  return to_.command(std::span<const std::string_view>(add), std::move(handler));
}

// EVAL script 2 delayed stream member field...
Queued CanaryRedis::promote_twice(Argv argv, ReplyHandler handler) {
  std::vector<std::string_view> add{"XADD", argv[4], "*"};
  add.insert(add.end(), argv.begin() + 6, argv.end());
  return to_.command(std::span<const std::string_view>(add), [handler = std::move(handler)](const Reply& reply) {
    handler(reply.is_error() ? reply : integer(1));
  });
}

}  // namespace stem::simulation
