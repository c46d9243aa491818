// `stem enqueue TASK`: one task, or many from a file of JSON lines.
#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "base/units.hpp"
#include "shm/limits.hpp"
#include "stem/json_payload.hpp"
#include "tools/stem/attachment.hpp"
#include "tools/stem/commands/engine_commands.hpp"
#include "tools/stem/enqueue/bulk.hpp"
#include "tools/stem/enqueue/order.hpp"
#include "tools/stem/json_output.hpp"

namespace stem::cli {
namespace {

using nlohmann::ordered_json;

constexpr Duration kRoomTimeout = std::chrono::seconds(10);  // of --jsonl
constexpr Duration kForEver = Duration::max();

struct EnqueueFlags {
  std::optional<std::string> task, args, payload_file, jsonl, queue, unique_key, meta, idempotency_key, affinity_key;
  std::optional<std::uint64_t> priority, max_retries;
  std::optional<std::int64_t> delay_ns, eta_ns, expires_at_ns, unique_for_ns, result_ttl_ns, timeout_ns;
  std::vector<std::string> headers;
  bool unique = false, wait = false, keep_going = false, ids = false;
};

Error refusal(std::string message) { return {Errc::kInvalidArgument, std::move(message)}; }

Result<void> check(const EnqueueFlags& f) {
  const int sources = int{f.args.has_value()} + int{f.payload_file.has_value()} + int{f.jsonl.has_value()};
  if (sources > 1) return refusal("give one of --args, --payload-file and --jsonl");
  if (!f.task && !f.jsonl) return refusal("TASK is missing");
  if (f.task && f.task->empty()) return refusal("TASK is empty");
  if (f.queue && f.queue->empty()) return refusal("--queue: the name is empty");
  if (f.jsonl && f.wait) return refusal("--wait goes with one task, not with --jsonl");
  if (!f.jsonl && (f.keep_going || f.ids)) return refusal("--keep-going and --ids go with --jsonl");
  if (f.delay_ns && f.eta_ns) return refusal("give --delay or --eta, not both");
  if (f.priority && *f.priority > 9) return refusal("--priority: 0 to 9, larger first");
  if (f.max_retries && *f.max_retries > 65535) return refusal("--max-retries: at most 65535");
  return {};
}

std::chrono::system_clock::time_point to_time_point(std::int64_t realtime_ns) {
  return std::chrono::system_clock::time_point(
      std::chrono::duration_cast<std::chrono::system_clock::duration>(Duration(realtime_ns)));
}

// All that the flags say but the payload.
Result<Order> order_of(const EnqueueFlags& f, const Config& config) {
  Order order;
  EnqueueOptions& o = order.options;
  order.task = f.task.value_or("");
  o.queue = f.queue.value_or(config.text("default_queue"));
  o.max_retries = static_cast<int>(
      f.max_retries.value_or(std::min<std::uint64_t>(config.whole_number("default_max_retries"), 65535)));
  if (f.priority) o.priority = static_cast<int>(*f.priority);
  if (f.delay_ns) o.delay = Duration(*f.delay_ns);
  if (f.eta_ns) o.eta = to_time_point(*f.eta_ns);
  if (f.expires_at_ns) {
    const std::int64_t left_ns = *f.expires_at_ns - base::realtime_ns();
    if (left_ns <= 0) return refusal("--expires is in the past");
    o.expires = Duration(left_ns);
  }
  if (f.unique) o.unique = true;
  o.unique_key = f.unique_key.value_or("");
  if (f.unique_for_ns) {
    o.unique = true;
    o.unique_for = Duration(*f.unique_for_ns);
  }
  for (const std::string& header : f.headers) {
    if (auto good = add_header(o.headers, header); !good.ok()) return good.error().within("--header");
  }
  o.meta = f.meta.value_or("");
  o.idempotency_key = f.idempotency_key.value_or("");
  o.affinity_key = f.affinity_key.value_or("");
  if (f.result_ttl_ns) o.result_ttl = Duration(*f.result_ttl_ns);
  if (!f.wait && f.timeout_ns) o.full_timeout = Duration(*f.timeout_ns);
  return order;
}

Result<std::string> read_payload_file(const std::string& path) {
  std::ifstream file;
  if (path != "-") {
    if (std::filesystem::is_directory(path)) return refusal(fmt::format("{} is a directory", path));
    file.open(path, std::ios::binary);
    if (!file) return refusal(system_error(fmt::format("cannot read {}", path)).message);
  }
  std::istream& in = path == "-" ? std::cin : file;
  // One more than may be: then it is too large, however much there is.
  std::string bytes(shm::kMaxPayloadBytes + 1, '\0');
  in.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  bytes.resize(static_cast<std::size_t>(in.gcount()));
  if (in.bad()) return refusal(fmt::format("cannot read {}", path));
  if (bytes.size() > shm::kMaxPayloadBytes) {
    return Error{Errc::kTooLarge,
                 fmt::format("{} has more than {}, the most that a task carries; pass its name instead", path,
                             base::human_size(shm::kMaxPayloadBytes))};
  }
  return bytes;
}

Result<std::string> read_payload(const EnqueueFlags& f) {
  if (f.payload_file) {
    auto bytes = read_payload_file(*f.payload_file);
    return bytes.ok() ? std::move(bytes) : bytes.error().within("--payload-file");
  }
  if (!f.args) return std::string{};
  auto payload = payload_of(*f.args);
  return payload.ok() ? std::move(payload) : payload.error().within("--args");
}

// ---- one task

struct Waited {
  int exit_code = kExitOk;
  ordered_json result;  // null without one
  std::string state;
  std::string error_kind, message;
};

Waited wait_for(Client& client, TaskId id, const EnqueueFlags& f) {
  Waited waited;
  const Duration timeout = f.timeout_ns ? Duration(*f.timeout_ns) : kForEver;
  const auto end = client.port().wait(id, timeout);
  if (!end.ok()) {
    waited.exit_code = exit_code_of(end.error().code);
    waited.state = end.error().code == Errc::kTimeout ? "pending" : "unknown";
    waited.message = end.error().message;
    return waited;
  }
  waited.state = to_string(end->state);
  waited.error_kind = end->error_kind;
  waited.message = end->message;
  if (end->state == TaskState::kSucceeded) {
    waited.result = payload_to_json(end->result);
  } else {
    waited.exit_code = kExitFailed;
  }
  return waited;
}

void print_waited(TaskId id, const Waited& waited) {
  if (waited.exit_code == kExitOk) {
    fmt::print("{}\n", waited.result.dump(-1, ' ', false, ordered_json::error_handler_t::replace));
  } else if (waited.exit_code == kExitTimeout) {
    print_error(fmt::format("enqueue: {}", waited.message), fmt::format("'stem task wait {}' waits on", to_string(id)));
  } else {
    print_error(fmt::format("enqueue: task {} ended as {}{}{}", to_string(id), waited.state,
                            waited.error_kind.empty() ? "" : ": " + waited.error_kind,
                            waited.message.empty() ? "" : ": " + waited.message));
  }
}

int enqueue_one(const EnqueueFlags& f, Client& client, const Order& order, const Context& context) {
  const bool keep = !order.options.result_ttl || *order.options.result_ttl > Duration{};
  if (f.wait && !keep) {
    return fail("enqueue", refusal("--wait needs the result: give a --result-ttl above 0"));
  }
  const detail::Enqueued enqueued = enqueue(client, order, keep);
  if (enqueued.error) return fail("enqueue", *enqueued.error);
  const std::string id = to_string(enqueued.id);
  if (!context.json) {
    fmt::print("{}\n", id);
    if (enqueued.duplicate) {
      print_warning("the same task is there already: this is its id, and nothing was enqueued");
    }
  }
  std::fflush(stdout);
  Waited waited;
  if (f.wait) waited = wait_for(client, enqueued.id, f);
  if (!context.json) {
    if (f.wait) print_waited(enqueued.id, waited);
    return waited.exit_code;
  }
  ordered_json document{
      {"id", id}, {"task", order.task}, {"queue", order.options.queue}, {"duplicate", enqueued.duplicate}};
  if (f.wait) {
    document["state"] = waited.state;
    document["result"] = waited.result;
    document["error"] = nullptr;
    if (waited.exit_code != kExitOk) {
      document["error"] = {{"kind", waited.error_kind}, {"message", waited.message}};
    }
  }
  print_json(document);
  return waited.exit_code;
}

// ---- many

void print_report(const BulkReport& report, const BulkOptions& options, std::int64_t spent_ns, const Context& context) {
  const double seconds = static_cast<double>(spent_ns) * 1e-9;
  const double rate = static_cast<double>(report.enqueued) / std::max(seconds, 1e-9);
  if (context.json && !options.print_ids) {
    ordered_json errors = ordered_json::array();
    for (const BadLine& bad : report.first_bad) {
      errors.push_back({{"line", bad.line}, {"code", to_string(bad.code)}, {"message", bad.message}});
    }
    print_json({{"lines", report.lines},
                {"enqueued", report.enqueued},
                {"duplicates", report.duplicates},
                {"bad", report.bad},
                {"stopped", report.stopped},
                {"seconds", seconds},
                {"ratePerSecond", rate},
                {"errors", errors}});
    return;
  }
  // The ids have stdout to themselves.
  std::string text =
      fmt::format("enqueued {} {} in {} ({}/s)", report.enqueued, report.enqueued == 1 ? "task" : "tasks",
                  base::human_duration(spent_ns), base::human_count(static_cast<std::uint64_t>(rate)));
  if (report.duplicates > 0) text += fmt::format(", {} were there already", report.duplicates);
  if (report.bad > 0) text += fmt::format(", {} bad {}", report.bad, report.bad == 1 ? "line" : "lines");
  if (report.stopped) text += fmt::format("; stopped at line {} of {}", report.lines, options.source);
  fmt::print(options.print_ids ? stderr : stdout, "{}\n", text);
}

int exit_code_of_report(const BulkReport& report, bool keep_going) {
  if (report.bad == 0) return kExitOk;
  // Who keeps going has said that bad lines are no failure; nothing but bad lines is one.
  const bool some = report.enqueued + report.duplicates > 0;
  return keep_going && !report.stopped && some ? kExitOk : kExitFailed;
}

int enqueue_many(const EnqueueFlags& f, Client& client, Order order, const Context& context) {
  if (!order.options.full_timeout) order.options.full_timeout = kRoomTimeout;
  const std::string& path = *f.jsonl;
  std::ifstream file;
  std::uint64_t size = 0;
  if (path != "-") {
    std::error_code error;
    if (std::filesystem::is_directory(path, error)) {
      return fail("enqueue", refusal(fmt::format("--jsonl: {} is a directory", path)));
    }
    file.open(path, std::ios::binary);
    if (!file) {
      return fail("enqueue", refusal(system_error(fmt::format("--jsonl: cannot read {}", path)).message));
    }
    size = std::filesystem::file_size(path, error);
    if (error) size = 0;  // a pipe, a device
  }
  const BulkOptions options{.source = path == "-" ? "stdin" : path,
                            .keep_going = f.keep_going,
                            .keep_results = f.result_ttl_ns.value_or(0) > 0,
                            .print_ids = f.ids,
                            .ids_as_json = context.json};
  std::ios::sync_with_stdio(false);
  const std::int64_t started_ns = base::monotonic_ns();
  BulkReport report;
  {
    ProgressBar progress(size);
    report = Bulk(client, std::move(order), options).run(path == "-" ? std::cin : file, progress);
  }
  print_report(report, options, base::monotonic_ns() - started_ns, context);
  return exit_code_of_report(report, f.keep_going);
}

int run_enqueue(const EnqueueFlags& f, const Context& context) {
  if (auto good = check(f); !good.ok()) return fail("enqueue", good.error());
  auto order = order_of(f, context.config);
  if (!order.ok()) return fail("enqueue", order.error());
  if (auto payload = read_payload(f); payload.ok()) {
    order->payload = std::move(*payload);
  } else {
    return fail("enqueue", payload.error());
  }
  auto client = Client::open(context.namespace_name);
  if (!client.ok()) return fail("enqueue", client.error());
  return f.jsonl ? enqueue_many(f, *client, std::move(*order), context) : enqueue_one(f, *client, *order, context);
}

Run build_enqueue(CommandLine& line) {
  auto f = std::make_shared<EnqueueFlags>();
  line.argument("TASK", &f->task, "the task's name; with --jsonl it may stand in the lines");
  line.text("--args", &f->args, "arguments, as JSON").named("JSON");
  line.file("--payload-file", &f->payload_file, "the bytes of a file as they are; - is stdin");
  line.file("--jsonl", &f->jsonl, "one task for each line of a file; - is stdin");
  line.text("-q,--queue", &f->queue, "queue (default: setting default_queue)").named("QUEUE");
  line.count("--priority", &f->priority, "0 to 9, larger first (default 0)");
  line.duration_ns("--delay", &f->delay_ns, "not before this has passed");
  line.when_ns("--eta", &f->eta_ns, Toward::kFuture, "not before this time");
  line.when_ns("--expires", &f->expires_at_ns, Toward::kFuture, "cancelled if not started by then");
  line.count("--max-retries", &f->max_retries, "attempts after the first (default: setting default_max_retries)");
  line.flag("--unique", &f->unique, "not if the same task with the same arguments is there");
  line.text("--unique-key", &f->unique_key, "the same, by this text instead of the arguments");
  line.duration_ns("--unique-for", &f->unique_for_ns, "how long it counts as there (default 30s)");
  line.texts("--header", &f->headers, "a header, as tenant=acme").named("NAME=VALUE");
  line.text("--meta", &f->meta, "an object that goes with the task").named("JSON");
  line.text("--idempotency-key", &f->idempotency_key, "reaches the handler on every attempt");
  line.text("--affinity-key", &f->affinity_key, "tasks with the same key go to the same worker");
  line.duration_ns("--result-ttl", &f->result_ttl_ns,
                   "how long the result is kept (default 1d; with --jsonl not at all)");
  line.flag("--wait", &f->wait, "wait for the task's end, and print its result");
  line.duration_ns("--timeout", &f->timeout_ns,
                   "with --wait: for the end; else: for room in a full queue (10s with --jsonl)");
  line.flag("--keep-going", &f->keep_going, "with --jsonl: skip bad lines");
  line.flag("--ids", &f->ids, "with --jsonl: print every id");
  return [f](const Context& context) { return run_enqueue(*f, context); };
}

}  // namespace

std::vector<Command> enqueue_commands() {
  return {{.path = "enqueue",
           .group = Group::kTasks,
           .help = "Enqueue a task, or one for each line of a file",
           .details = "Prints the id, and with --wait the result as JSON. A JSON text reaches the handler as "
                      "its bytes, every other JSON value as MessagePack. A line of --jsonl holds the "
                      "arguments of TASK, or an object with args and any of task, queue, priority, "
                      "maxRetries, delay, eta, expires, unique, uniqueKey, uniqueForMs, headers, meta, "
                      "idempotencyKey, affinityKey, resultTtl; flags are their defaults. At a bad line it "
                      "stops, with the tasks of the lines before it enqueued.",
           .examples = {{"stem enqueue img.resize --args '{\"file\":\"a.jpg\",\"width\":64}'", ""},
                        {"stem enqueue report --args '[2026]' --wait --timeout 30s", "and its result"},
                        {"stem enqueue img.resize --jsonl images.jsonl", "in bulk"},
                        {"zcat orders.gz | stem enqueue --jsonl - --keep-going", "each line {\"task\":…,\"args\":…}"}},
           .traits = kReads,
           .build = build_enqueue}};
}

}  // namespace stem::cli
