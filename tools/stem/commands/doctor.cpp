// `stem doctor`: what is wrong with this host for this job, and how to mend it.
#include <fmt/format.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/units.hpp"
#include "tools/stem/commands/commands.hpp"
#include "tools/stem/doctor/finding.hpp"
#include "tools/stem/doctor/host_files.hpp"
#include "tools/stem/json_output.hpp"

namespace stem::cli {
namespace {

struct Host {
  std::string kernel;
  std::string machine;
  std::size_t cpus = 0;
  std::size_t online_cpus = 0;
  std::uint64_t memory_bytes = 0;
};

Host this_host() {
  Host host;
  utsname name{};
  uname(&name);
  host.kernel = fmt::format("{} {}", name.sysname, name.release);
  host.machine = name.machine;
  host.cpus = allowed_cpus().size();
  host.online_cpus = static_cast<std::size_t>(get_nprocs());
  struct sysinfo info {};
  sysinfo(&info);
  host.memory_bytes = static_cast<std::uint64_t>(info.totalram) * info.mem_unit;
  return host;
}

std::string_view word_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk: return "ok";
    case Verdict::kWarn: return "warn";
    case Verdict::kFail: return "fail";
  }
  return "";
}

Tone tone_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk: return Tone::kGood;
    case Verdict::kWarn: return Tone::kWarn;
    case Verdict::kFail: return Tone::kBad;
  }
  return Tone::kPlain;
}

std::size_t count_of(const std::vector<Finding>& findings, Verdict verdict) {
  return static_cast<std::size_t>(std::count_if(findings.begin(), findings.end(),
                                                [&](const Finding& finding) { return finding.verdict == verdict; }));
}

void print_for_programs(const Host& host, const std::vector<Finding>& findings) {
  nlohmann::ordered_json checks = nlohmann::ordered_json::array();
  for (const Finding& finding : findings) {
    checks.push_back({{"name", finding.name},
                      {"status", word_of(finding.verdict)},
                      {"found", finding.found},
                      {"why", finding.why},
                      {"mend", finding.mend},
                      {"command", finding.command}});
  }
  print_json({{"host",
               {{"kernel", host.kernel},
                {"machine", host.machine},
                {"cpus", host.cpus},
                {"onlineCpus", host.online_cpus},
                {"memoryBytes", host.memory_bytes}}},
              {"checks", std::move(checks)},
              {"summary",
               {{"ok", count_of(findings, Verdict::kOk)},
                {"warn", count_of(findings, Verdict::kWarn)},
                {"fail", count_of(findings, Verdict::kFail)}}}});
}

std::size_t line_width() {
  const std::size_t columns = terminal_width();
  return columns == 0 ? 100 : std::clamp<std::size_t>(columns, 60, 110);
}

void print_finding(const Finding& finding, std::size_t name_width, bool all, const Style& style) {
  const std::size_t indent = 8 + name_width + 2;
  fmt::print("  {}{}{}{}\n", style.paint(tone_of(finding.verdict), word_of(finding.verdict)),
             std::string(6 - word_of(finding.verdict).size(), ' '),
             finding.name + std::string(name_width + 2 - finding.name.size(), ' '),
             wrapped(finding.found, line_width() - indent + 2, indent - 2));
  if (finding.verdict == Verdict::kOk && !all) return;
  const auto line = [&](std::string_view label, std::string_view text) {
    fmt::print("{}{}{}\n", std::string(indent - 2, ' '), style.paint(Tone::kDim, fmt::format("{:<6}", label)), text);
  };
  const auto paragraph = [&](std::string_view text) { return wrapped(text, line_width() - indent - 6, indent + 4); };
  line("why", paragraph(finding.why));
  line("mend", paragraph(finding.mend));
  // Never broken: it is there to be copied.
  if (!finding.command.empty()) line("run", finding.command);
}

std::string counted(std::size_t count, std::string_view one, std::string_view many) {
  return fmt::format("{} {}", count, count == 1 ? one : many);
}

void print_for_people(const Host& host, const std::vector<Finding>& findings, bool all, const Style& style) {
  fmt::print("{}\n\n",
             style.paint(Tone::kBold, fmt::format("{} {}, {} of {} CPUs, {} of memory", host.kernel, host.machine,
                                                  host.cpus, host.online_cpus, base::human_size(host.memory_bytes))));
  std::size_t name_width = 0;
  for (const Finding& finding : findings) name_width = std::max(name_width, finding.name.size());
  for (const Finding& finding : findings) print_finding(finding, name_width, all, style);
  const std::size_t warnings = count_of(findings, Verdict::kWarn);
  const std::size_t failures = count_of(findings, Verdict::kFail);
  fmt::print("\n{} ok, {}, {}\n", count_of(findings, Verdict::kOk),
             style.paint(warnings > 0 ? Tone::kWarn : Tone::kPlain, counted(warnings, "warning", "warnings")),
             style.paint(failures > 0 ? Tone::kBad : Tone::kPlain, counted(failures, "failure", "failures")));
}

int run_doctor(bool all, const Context& context) {
  std::vector<Finding> findings;
  check_memory(findings);
  check_processors(findings);
  check_kernel(findings);
  const Host host = this_host();
  if (context.json) {
    print_for_programs(host, findings);
  } else {
    print_for_people(host, findings, all, context.style);
  }
  return count_of(findings, Verdict::kFail) > 0 ? kExitFailed : kExitOk;
}

Run build_doctor(CommandLine& line) {
  auto all = std::make_shared<bool>(false);
  line.flag("--all", all.get(), "explain what is in order as well");
  return [all](const Context& context) { return run_doctor(*all, context); };
}

}  // namespace

std::vector<Command> doctor_commands() {
  return {{.path = "doctor",
           .group = Group::kHost,
           .help = "What is wrong with this host for this job, and how to mend it",
           .details = "Tries or reads each thing that the speed and the promises rest on. A warning costs "
                      "time; a failure breaks a promise, and the exit code is 70.",
           .examples = {{"stem doctor", ""}, {"stem doctor --json | jq '.checks[] | select(.status!=\"ok\")'", ""}},
           .traits = kReads,
           .build = build_doctor}};
}

}  // namespace stem::cli
