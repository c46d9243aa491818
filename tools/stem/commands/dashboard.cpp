// `stem dashboard`: a web page, /metrics, /healthz, /readyz and a JSON API, in the foreground.
#include <fmt/format.h>

#include <charconv>
#include <memory>
#include <optional>

#include "tools/stem/attachment.hpp"
#include "tools/stem/commands/commands.hpp"
#include "tools/stem/dashboard/api.hpp"
#include "tools/stem/dashboard/gate.hpp"
#include "tools/stem/dashboard/observer.hpp"
#include "tools/stem/dashboard/otlp.hpp"
#include "tools/stem/dashboard/web_server.hpp"
#include "tools/stem/interrupts.hpp"

namespace stem::cli {
namespace {

constexpr std::string_view kName = "dashboard";
constexpr std::int64_t kShortestExportNs = 100'000'000;

struct DashboardOptions {
  std::string listen = "127.0.0.1:9464";
  std::vector<std::string> hosts;
  std::string token_file;
  std::string token_for = "writing";
  std::string otlp;
  std::int64_t otlp_interval_ns = 10'000'000'000;
};

struct ListenAddress {
  std::string host;
  int port = 0;
};

// "127.0.0.1:9464", "[::1]:9464", ":9464" is none: who listens to everybody says so.
Result<ListenAddress> parse_listen(const std::string& text) {
  const Error bad{Errc::kInvalidArgument,
                  fmt::format("--listen: '{}' is no ADDRESS:PORT, as 127.0.0.1:9464 or [::1]:9464",
                              shortened(printable(text), 60))};
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return bad;
  ListenAddress address{text.substr(0, colon), 0};
  if (address.host.starts_with('[') && address.host.ends_with(']'))
    address.host = address.host.substr(1, address.host.size() - 2);
  else if (address.host.find(':') != std::string::npos)
    return bad;
  const char* const begin = text.data() + colon + 1;
  const char* const end = text.data() + text.size();
  const auto [last, error] = std::from_chars(begin, end, address.port);
  if (address.host.empty() || begin == end || error != std::errc{} || last != end || address.port < 0 ||
      address.port > 65535)
    return bad;
  return address;
}

bool is_loopback(const std::string& host) { return host == "localhost" || host == "::1" || host.starts_with("127."); }

Result<GateOptions> gate_options(const DashboardOptions& options) {
  GateOptions gate{.hosts = options.hosts, .token = {}};
  if (options.token_for == "everything") gate.token_for = TokenFor::kEverything;
  if (options.token_file.empty()) {
    if (gate.token_for == TokenFor::kEverything)
      return Error{Errc::kInvalidArgument, "--token-for everything: --token-file is missing"};
    return gate;
  }
  auto token = read_token_file(options.token_file);
  if (!token.ok()) return token.error();
  gate.token = *std::move(token);
  return gate;
}

void say_ready(const ListenAddress& address, int port, const Gate& gate, const Context& context) {
  const bool six = address.host.find(':') != std::string::npos;
  fmt::print("dashboard of namespace {} on http://{}:{}/, {}\n", context.namespace_name,
             six ? "[" + address.host + "]" : address.host, port,
             gate.takes_writes() ? "acts for who has the token" : "read-only");
  std::fflush(stdout);
  if (!is_loopback(address.host) && gate.token_for() != TokenFor::kEverything)
    print_warning(
        "every host that reaches this address can read tasks and their payloads; "
        "--token-for everything asks them for the token");
}

int run_dashboard(const DashboardOptions& options, const Context& context) {
  const auto address = parse_listen(options.listen);
  if (!address.ok()) return fail(kName, address.error());
  const auto chosen = gate_options(options);
  if (!chosen.ok()) return fail(kName, chosen.error());
  std::optional<HttpTarget> collector;
  if (!options.otlp.empty()) {
    auto target = parse_otlp_url(options.otlp, "/v1/metrics");
    if (!target.ok()) return fail(kName, target.error());
    collector = *std::move(target);
  }
  if (options.otlp_interval_ns < kShortestExportNs)
    return fail(kName, {Errc::kInvalidArgument, "--otlp-interval: at least 100ms"});
  Interrupts interrupts;  // before there are threads, so that none of them takes the signals
  const Gate gate(*chosen);
  Observer observer(context);
  const Api api(context, observer, gate);
  std::int64_t wait_ns = observer.tick();
  auto server = WebServer::open(
      {.host = address->host, .port = address->port}, [&](const WebRequest& request) { return gate.refuse(request); },
      [&](const WebRequest& request) { return api.answer(request); });
  if (!server.ok()) return fail(kName, server.error());
  std::optional<OtlpExporter> exporter;
  if (collector) exporter.emplace(*collector, options.otlp_interval_ns, observer);
  say_ready(*address, (*server)->port(), gate, context);
  while (!interrupts.wait_ns(wait_ns)) {
    if ((*server)->ended())
      return fail(kName, {Errc::kSystem, "it can accept no connections any more; start it again"});
    wait_ns = observer.tick();
  }
  return kExitOk;
}

Run build_dashboard(CommandLine& line) {
  auto options = std::make_shared<DashboardOptions>();
  line.text("--listen", &options->listen, "where (default 127.0.0.1:9464; port 0: any that is free)")
      .named("ADDRESS:PORT");
  line.texts("--host", &options->hosts, "a name by which browsers and scrapers call this host").named("NAME");
  line.file("--token-file", &options->token_file,
            "whoever has the token in this file may act: pause, replay, purge, revoke");
  line.choice("--token-for", &options->token_for, {"writing", "everything"},
              "what needs the token: acting alone, or reading as well");
  line.text("--otlp", &options->otlp, "send the metrics to this OpenTelemetry collector, too").named("URL");
  line.duration_ns("--otlp-interval", &options->otlp_interval_ns, "how often (default 10s)");
  return [options](const Context& context) { return run_dashboard(*options, context); };
}

}  // namespace

std::vector<Command> dashboard_commands() {
  return {{.path = "dashboard",
           .group = Group::kWatch,
           .help = "A web page, /metrics, /healthz, /readyz and a JSON API",
           .details = "Runs in the foreground and reads the segment as it is, with workers running, hung or dead. It "
                      "waits for a segment that is not there yet. Read-only unless it gets a token; on loopback "
                      "unless told.",
           .examples = {{"stem dashboard", "then open http://127.0.0.1:9464/"},
                        {"stem dashboard --token-file ~/.stem-token", "act from it, too"},
                        {"stem dashboard --listen 0.0.0.0:9464 --host stem.example --token-file token --token-for "
                         "everything",
                         "for others"}},
           .build = build_dashboard}};
}

}  // namespace stem::cli
