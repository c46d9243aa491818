// `stem segment verify`: proves the invariants of a segment, and names what breaks one.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "engine/keeper.hpp"
#include "engine/verify.hpp"
#include "tools/stem/attachment.hpp"
#include "tools/stem/commands/engine_commands.hpp"
#include "tools/stem/json_output.hpp"
#include "tools/stem/segment/usage.hpp"
#include "tools/stem/table.hpp"

namespace stem::cli {
namespace {

using engine::Finding;
using engine::Verification;
using nlohmann::ordered_json;

struct Invariant {
  std::string_view name;
  std::string_view meaning;
};

// As engine/verify.hpp has them; one that is found there and not here is printed all the same.
constexpr std::array<Invariant, 11> kInvariants{{
    {"header", "the header is complete, of this layout and this boot"},
    {"state", "every control word is in a state that exists"},
    {"owner", "owned tasks name a participant, others name none"},
    {"owner-alive", "owners are attached"},
    {"descriptor", "queue, task, priority and payload size are in range"},
    {"block", "a payload block belongs to its task"},
    {"block-tag", "every block names a life that has begun"},
    {"orphan", "no block of a life that is over"},
    {"schedule", "every schedule has a definition of its own"},
    {"ring", "hints lie within their rings"},
    {"counts", "enqueued = live + ended, in every queue"},
}};

// What --recover did.
struct Recovery {
  bool asked = false;
  std::uint32_t swept = 0;
  bool patrolled = false;  // false: a keeper is at work, which does that by itself
};

// The patrol of the slab, and of all blocks.
Recovery recover(engine::Engine& engine) {
  Recovery done{.asked = true};
  const std::int64_t now_ns = base::monotonic_ns();
  done.swept = engine.sweep_all(now_ns);
  engine::Keeper keeper(engine);
  done.patrolled = keeper.hold(now_ns);
  if (!done.patrolled) return done;
  keeper.patrol_all(base::monotonic_ns());
  std::uint64_t cursor = 0;
  std::uint64_t freed = 0;
  while (!engine.blocks().patrol(cursor, 4096, freed)) {
  }
  return done;
}

struct Verdict {
  std::string name;
  std::string_view meaning;
  std::vector<const Finding*> findings;

  [[nodiscard]] std::string_view state() const {
    if (findings.empty()) return "ok";
    const bool broken = std::any_of(findings.begin(), findings.end(),
                                    [](const Finding* f) { return f->severity == Finding::Severity::kBroken; });
    return broken ? "broken" : "pending";
  }
};

std::vector<Verdict> verdicts_of(const Verification& verification) {
  std::vector<Verdict> verdicts;
  for (const Invariant& invariant : kInvariants) {
    verdicts.push_back({std::string(invariant.name), invariant.meaning, {}});
  }
  for (const Finding& finding : verification.findings) {
    auto it =
        std::find_if(verdicts.begin(), verdicts.end(), [&](const Verdict& v) { return v.name == finding.invariant; });
    if (it == verdicts.end()) it = verdicts.insert(it, {finding.invariant, "", {}});
    it->findings.push_back(&finding);
  }
  return verdicts;
}

void print_verification_json(const Verification& v, const Recovery& recovery, const Context& context) {
  ordered_json invariants = ordered_json::array();
  for (const Verdict& verdict : verdicts_of(v)) {
    ordered_json findings = ordered_json::array();
    for (const Finding* finding : verdict.findings) {
      findings.push_back({{"severity", finding->severity == Finding::Severity::kBroken ? "broken" : "pending"},
                          {"detail", finding->detail}});
    }
    invariants.push_back({{"name", verdict.name}, {"state", verdict.state()}, {"findings", findings}});
  }
  ordered_json by_state = ordered_json::object();
  for (int i = 0; i < shm::kStateCount; ++i) {
    by_state[shm::to_string(static_cast<shm::State>(i))] = v.by_state[i];
  }
  ordered_json document{{"namespace", context.namespace_name},
                        {"ok", v.ok()},
                        {"invariants", invariants},
                        {"suppressed", v.suppressed},
                        {"slots", v.slots},
                        {"blocks", v.blocks},
                        {"rings", v.rings},
                        {"enqueued", v.enqueued},
                        {"live", v.live},
                        {"ended", v.ended},
                        {"moving", v.moving},
                        {"slotsByState", by_state},
                        {"recovery", nullptr}};
  if (recovery.asked) {
    document["recovery"] = {{"sweptParticipants", recovery.swept}, {"patrolled", recovery.patrolled}};
  }
  print_json(document);
}

void print_verification(const Verification& v, const Recovery& recovery, const Context& context) {
  const Style& style = context.style;
  if (recovery.asked) {
    fmt::print("recovered: {} swept, {}\n\n",
               recovery.swept == 1 ? "1 dead participant" : fmt::format("{} dead participants", recovery.swept),
               recovery.patrolled ? "one patrol pass" : "no patrol pass, as a keeper is at work");
  }
  Table table({{"INVARIANT"}, {"STATE"}, {"MEANS", Align::kLeft, true}});
  const auto verdicts = verdicts_of(v);
  bool pending = false;
  for (const Verdict& verdict : verdicts) {
    const std::string_view state = verdict.state();
    const Tone tone = state == "ok" ? Tone::kGood : (state == "pending" ? Tone::kWarn : Tone::kBad);
    pending = pending || state == "pending";
    table.add_row({verdict.name, {std::string(state), tone}, std::string(verdict.meaning)});
  }
  table.print(style);
  fmt::print("\n");
  for (const Verdict& verdict : verdicts) {
    for (const Finding* finding : verdict.findings) {
      const bool broken = finding->severity == Finding::Severity::kBroken;
      fmt::print("{} {}: {}\n", style.paint(broken ? Tone::kBad : Tone::kWarn, broken ? "broken " : "pending"),
                 verdict.name, printable(finding->detail));
    }
  }
  if (v.suppressed > 0) fmt::print("… and {} more of the same kinds\n", v.suppressed);
  fmt::print("looked at {} slots, {} blocks, {} rings; enqueued {} = live {} + ended {}{}\n", v.slots, v.blocks,
             v.rings, v.enqueued, v.live, v.ended, v.moving ? " (at work meanwhile: compared within what moved)" : "");
  if (!v.ok()) {
    fmt::print("{}\n", style.paint(Tone::kBad, "broken: the segment contradicts itself"));
  } else if (pending) {
    fmt::print("{}; what is pending is done by a keeper, or now with --recover\n", style.paint(Tone::kGood, "ok"));
  } else {
    fmt::print("{}\n", style.paint(Tone::kGood, "ok"));
  }
}

// A segment that no program can attach to has broken its first invariant.
bool header_is_broken(Errc code) {
  return code == Errc::kCorrupt || code == Errc::kTruncated || code == Errc::kWrongVersion ||
         code == Errc::kWrongSignature;
}

int print_result(const Verification& verification, const Recovery& recovery, const Context& context) {
  if (context.json) {
    print_verification_json(verification, recovery, context);
  } else {
    print_verification(verification, recovery, context);
  }
  return verification.ok() ? kExitOk : kExitFailed;
}

int verify_segment(bool wants_recovery, const Context& context) {
  const auto attached = wants_recovery ? Attachment::open(context) : Attachment::watch(context);
  if (!attached.ok()) {
    if (!header_is_broken(attached.error().code)) {
      return fail("segment verify", attached.error());
    }
    Verification verification;
    verification.findings.push_back({Finding::Severity::kBroken, "header", attached.error().message});
    return print_result(verification, {}, context);
  }
  Recovery recovery;
  if (wants_recovery) recovery = recover(attached->engine());
  return print_result(engine::verify(attached->engine()), recovery, context);
}

Run build_verify(CommandLine& line) {
  auto recovery = std::make_shared<bool>(false);
  line.flag("--recover", recovery.get(), "first sweep the dead and walk one patrol pass");
  return [recovery](const Context& context) { return verify_segment(*recovery, context); };
}

}  // namespace

std::vector<Command> segment_verify_commands() {
  return {{.path = "segment verify",
           .group = Group::kHost,
           .help = "Prove every invariant of a segment, live or dead, and name what breaks one",
           .details = "Broken: the segment contradicts itself, exit code 70. Pending: legal, and "
                      "gone once a keeper has looked. May run while workers are at work.",
           .examples = {{"stem segment verify", ""}, {"stem segment verify --recover", "after a crash of everything"}},
           .traits = kReads,
           .build = build_verify}};
}

}  // namespace stem::cli
