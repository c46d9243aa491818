#include "tests/chaos/soak.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cstdio>
#include <fstream>
#include <iterator>

namespace stem::chaos {
namespace {

using nlohmann::json;

std::uint64_t number_in(const json& report, const char* name) { return report.at(name).get<std::uint64_t>(); }

// Renamed into place: a soak that is killed finds the sum before its last round.
void keep(const std::string& path, const json& sum) {
  const std::string fresh = path + ".new";
  std::ofstream(fresh) << sum.dump(2) << "\n";
  if (std::rename(fresh.c_str(), path.c_str()) != 0) std::perror(path.c_str());
}

json read_sum(const std::string& path) {
  std::ifstream file(path);
  if (!file) return json();
  return json::parse(std::string(std::istreambuf_iterator<char>(file), {}));
}

}  // namespace

json to_document(const Report& r) {
  const Account& a = r.account;
  return {{"rounds", 1},
          {"seconds", r.seconds},
          {"worker_lives", a.incarnations},
          {"kills", {{"producers", r.kills[0]}, {"workers", r.kills[1]}, {"keepers", r.kills[2]}}},
          {"kills_while_stopped", r.kills_while_stopped},
          {"stops", {{"producers", r.stops[0]}, {"workers", r.stops[1]}, {"keepers", r.stops[2]}}},
          {"offered", a.offered},
          {"accepted", a.accepted},
          {"refused", a.refused},
          {"uncertain", a.uncertain},
          {"uncertain_there", a.uncertain_there},
          {"acknowledged", a.acknowledged},
          {"unconfirmed", a.unconfirmed},
          {"executions", a.executions},
          {"retried", a.retried},
          {"snoozed", a.snoozed},
          {"fenced", a.fenced},
          {"cut_short", a.cut_short},
          {"redelivered", r.redelivered},
          {"dead_letters", r.dead_added},
          {"replayed", r.replayed},
          {"enqueued", r.enqueued},
          {"succeeded", r.succeeded},
          {"lost", a.lost},
          {"twice", a.twice},
          {"invented", a.invented},
          {"unaccounted", a.unaccounted},
          {"failed_starts", r.failed_starts},
          {"broken", r.broken},
          {"differs", r.sums},
          {"examples", a.examples},
          {"drained", r.drained},
          {"clean", r.clean() && a.accepted != 0}};
}

void add_to(json& sum, const json& one) {
  if (sum.is_null()) {
    sum = one;
    return;
  }
  for (const auto& [name, value] : one.items()) {
    json& mine = sum[name];
    if (value.is_object()) {
      add_to(mine, value);
    } else if (value.is_boolean()) {
      mine = mine.get<bool>() && value.get<bool>();
    } else if (value.is_array()) {
      for (const json& element : value) mine.push_back(element);
    } else if (value.is_number_float()) {
      mine = mine.get<double>() + value.get<double>();
    } else {
      mine = mine.get<std::uint64_t>() + value.get<std::uint64_t>();
    }
  }
}

std::string to_text(const std::string& title, const json& r) {
  std::string out;
  const auto line = [&out](const std::string& s) { out += s + "\n"; };
  const auto n = [&r](const char* name) { return number_in(r, name); };
  const auto struck = [&line, &r](const char* what, const char* name, const std::string& more) {
    const json& by = r.at(name);
    const std::uint64_t all = number_in(by, "producers") + number_in(by, "workers") + number_in(by, "keepers");
    line(fmt::format("{:<12} {} ({} producers, {} workers, {} keepers{})", what, all, number_in(by, "producers"),
                     number_in(by, "workers"), number_in(by, "keepers"), more));
  };
  line(fmt::format("{}: {:.1f} s", title, r.at("seconds").get<double>()));
  line(fmt::format("processes    {} worker lives", n("worker_lives")));
  struck("SIGKILL", "kills", fmt::format("; {} of them while stopped", n("kills_while_stopped")));
  struck("SIGSTOP", "stops", "");
  line(
      fmt::format("tasks        {} offered: {} accepted, {} refused, {} with the producer killed inside enqueue ({} of "
                  "these were there)",
                  n("offered"), n("accepted"), n("refused"), n("uncertain"), n("uncertain_there")));
  line(fmt::format("acknowledged {} and {} whose worker was killed before it could say so", n("acknowledged"),
                   n("unconfirmed")));
  line(fmt::format(
      "executions   {} = {} acknowledged + {} retried + {} snoozed + {} refused (lease lost) + {} cut short "
      "by death + {} unaccounted",
      n("executions"), n("acknowledged"), n("retried"), n("snoozed"), n("fenced"), n("cut_short"), n("unaccounted")));
  line(
      fmt::format("redelivered  {} leases: {} of running tasks whose worker died, {} lost by silence, the rest not "
                  "started; {} dead letters, {} replays",
                  n("redelivered"), n("cut_short"), n("fenced"), n("dead_letters"), n("replayed")));
  line(fmt::format("counters     enqueued {}, succeeded {}", n("enqueued"), n("succeeded")));
  for (const json& s : r.at("broken")) line("BROKEN       " + s.get<std::string>());
  for (const json& s : r.at("differs")) line("DIFFERS      " + s.get<std::string>());
  for (const json& s : r.at("examples")) line("EXAMPLE      " + s.get<std::string>());
  if (n("failed_starts") != 0) line(fmt::format("ENDED        {} processes ended by themselves", n("failed_starts")));
  if (!r.at("drained").get<bool>()) line("NOT DRAINED  tasks were left after a minute without kills");
  if (n("accepted") == 0) line("NOTHING      no task was accepted");
  line(fmt::format("lost {}, acknowledged twice {}, invented {}, unaccounted {}", n("lost"), n("twice"), n("invented"),
                   n("unaccounted")));
  line(r.at("clean").get<bool>() ? "lost 0, unaccounted 0" : "NOT CLEAN");
  return out;
}

int soak(const Options& options, std::uint64_t tasks) {
  ::mkdir(options.output.c_str(), 0755);
  const std::string path = options.output + "/soak.json";
  json sum = read_sum(path);
  const auto done = [&] { return sum.is_null() ? 0 : number_in(sum, "acknowledged") + number_in(sum, "unconfirmed"); };
  while (done() < tasks && (sum.is_null() || sum.at("clean").get<bool>())) {
    Options round = options;
    round.seed += sum.is_null() ? 0 : number_in(sum, "rounds");
    Arena arena(round);
    const json one = to_document(arena.run());
    add_to(sum, one);
    keep(path, sum);
    std::printf(
        "round %llu: %llu tasks of %llu accounted for, %llu kills in this one\n",
        static_cast<unsigned long long>(number_in(sum, "rounds")), static_cast<unsigned long long>(done()),
        static_cast<unsigned long long>(tasks),
        static_cast<unsigned long long>(number_in(one.at("kills"), "producers") +
                                        number_in(one.at("kills"), "workers") + number_in(one.at("kills"), "keepers")));
    std::fflush(stdout);
    if (one.at("clean").get<bool>()) continue;
    std::printf("segment and ledgers of seed %llu are kept in %s\n", static_cast<unsigned long long>(round.seed),
                arena.directory().c_str());
    arena.keep_directory();
  }
  const std::string words =
      to_text(fmt::format("stem-chaos --soak {}, {} rounds", tasks, number_in(sum, "rounds")), sum);
  std::fputs(words.c_str(), stdout);
  std::ofstream(options.output + "/report.txt") << words;
  return sum.at("clean").get<bool>() ? 0 : 1;
}

}  // namespace stem::chaos
