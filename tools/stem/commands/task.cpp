// `stem task show|wait|revoke|retry ID…`.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "engine/control.hpp"
#include "engine/dead_letters.hpp"
#include "engine/former.hpp"
#include "engine/query.hpp"
#include "stem/client.hpp"
#include "stem/json_payload.hpp"
#include "tools/stem/attachment.hpp"
#include "tools/stem/commands/engine_commands.hpp"
#include "tools/stem/json_output.hpp"
#include "tools/stem/redis_choice.hpp"
#include "tools/stem/task/elsewhere.hpp"
#include "tools/stem/task/task_report.hpp"

namespace stem::cli {
namespace {

using engine::Revoked;
using engine::TaskId;
using nlohmann::ordered_json;

// All of them or none: a mistyped id must not let half of a command happen.
Result<std::vector<TaskId>> parse_ids(const std::vector<std::string>& texts) {
  std::vector<TaskId> ids;
  for (const std::string& text : texts) {
    TaskId id;
    if (!engine::parse_task_id(text, id)) {
      return Error{Errc::kInvalidArgument, fmt::format("'{}' is no task id; one looks like 1f2e3d4c-00000000abc00012",
                                                       shortened(printable(text), 60))};
    }
    ids.push_back(id);
  }
  return ids;
}

struct IdArguments {
  std::vector<std::string> texts;
  RedisChoice redis;  // of commands that look further than this host
};

// This host's segment, and the cluster's Redis where one is named: one of them at least.
struct Targets {
  std::optional<Attachment> attached;
  std::optional<RedisHold> redis;
  std::optional<federation::TaskSearch> search;  // with it

  // Without a Redis all ids must be ones of this host.
  static Result<Targets> open(const IdArguments& arguments, const Context& context,
                              Result<Attachment> (*attach)(const Context&) = Attachment::open) {
    Targets targets;
    const bool has_redis = !redis_url(arguments.redis, context).empty();
    if (!has_redis)
      if (const auto ids = parse_ids(arguments.texts); !ids.ok()) return ids.error();
    auto attached = attach(context);
    // With a Redis it may be done from a host without tasks of its own.
    if (!attached.ok() && !(has_redis && attached.error().code == Errc::kNotFound)) return attached.error();
    if (attached.ok()) targets.attached.emplace(*std::move(attached));
    if (!has_redis) return targets;
    auto redis = connect(arguments.redis, context);
    if (!redis.ok()) return redis.error();
    targets.redis.emplace(*std::move(redis));
    targets.search.emplace(*targets.redis->client, targets.redis->keys);
    return targets;
  }
};

void declare_ids(CommandLine& line, IdArguments& ids) { line.arguments("ID", &ids.texts, "ids of tasks").required(); }

std::string unknown_text(TaskId id, const shm::Segment& segment) {
  if (id.epoch != segment.epoch()) {
    return fmt::format("task {} belongs to another segment; ids of this one begin with {:08x}", to_string(id),
                       segment.epoch());
  }
  return fmt::format("no task {}: it is over and nothing was kept of it, or it never was", to_string(id));
}

// Codes of several ids become one: the gravest.
void raise(int& code, int other) { code = std::max(code, other); }

// ---- show

// What Redis knows of a task that is not on this host; its code.
int show_elsewhere(const std::string& id, federation::TaskSearch& search, const Context& context, ordered_json& rows) {
  const auto status = search.find(id);
  if (!status.ok()) return fail("task show", status.error());
  if (!*status) {
    rows.push_back({{"id", id}, {"state", nullptr}});
    print_error(
        fmt::format("task show: nothing is known of {} in Redis: it is not over, or its result was kept no "
                    "longer, or it never was",
                    printable(id)));
    return kExitNotFound;
  }
  if (!context.json) print_elsewhere(**status);
  rows.push_back(json_elsewhere(**status));
  return kExitOk;
}

int show_tasks(const IdArguments& arguments, const Context& context) {
  auto targets = Targets::open(arguments, context, Attachment::watch);
  if (!targets.ok()) return fail("task show", targets.error());
  ordered_json rows = ordered_json::array();
  int code = kExitOk;
  bool first = true;
  for (const std::string& text : arguments.texts) {
    TaskId id;
    const bool is_local = targets->attached && engine::parse_task_id(text, id);
    const auto task = is_local ? engine::Query(targets->attached->engine()).task(id) : std::nullopt;
    if (!first && !context.json) fmt::print("\n");
    first = false;
    if (task && context.json) {
      rows.push_back(task_json(*task, *targets->attached));
    } else if (task) {
      print_task(*task, *targets->attached, context.style);
    } else if (targets->redis) {
      const std::string name = is_local ? cluster_name(targets->attached->segment(), id) : text;
      raise(code, show_elsewhere(name, *targets->search, context, rows));
    } else {
      raise(code, kExitNotFound);
      rows.push_back({{"id", to_string(id)}, {"state", nullptr}});
      print_error(fmt::format("task show: {}", unknown_text(id, targets->attached->segment())));
    }
  }
  if (context.json) print_json(rows);
  return code;
}

Run build_show(CommandLine& line) {
  auto ids = std::make_shared<IdArguments>();
  declare_ids(line, *ids);
  declare_redis(line, ids->redis);
  return [ids](const Context& context) { return show_tasks(*ids, context); };
}

// ---- wait

struct WaitOptions {
  IdArguments ids;
  std::optional<std::int64_t> timeout_ns;
};

int wait_for_one(Client& client, TaskId id, std::int64_t deadline_ns, const Context& context, ordered_json& rows) {
  const std::int64_t left_ns =
      deadline_ns == INT64_MAX ? INT64_MAX : std::max<std::int64_t>(deadline_ns - base::monotonic_ns(), 0);
  const auto end = client.port().wait(id, Duration(left_ns));
  ordered_json row{{"id", to_string(id)}, {"state", nullptr}, {"result", nullptr}, {"error", nullptr}};
  int code = kExitOk;
  std::string rest;
  if (!end.ok()) {
    code = exit_code_of(end.error().code);
    row["state"] = "pending";
    rest = end.error().code == Errc::kTimeout ? "not over yet" : end.error().message;
  } else if (end->state == TaskState::kGone) {
    code = kExitNotFound;
    rest = "over and nothing was kept of it, or it never was";
  } else {
    row["state"] = to_string(end->state);
    if (end->state == TaskState::kSucceeded) {
      row["result"] = payload_to_json(end->result);
      rest = one_line(payload_to_json(end->result));
    } else {
      code = kExitFailed;
      row["error"] = {{"kind", end->error_kind}, {"message", end->message}};
      rest = fmt::format("{}: {}", end->error_kind, end->message);
    }
  }
  if (!context.json) {
    const std::string state = row["state"].is_null() ? "unknown" : row["state"].get<std::string>();
    fmt::print("{}  {}  {}\n", to_string(id), context.style.paint(tone_of_state(state), state), printable(rest));
    std::fflush(stdout);
  }
  rows.push_back(std::move(row));
  return code;
}

// For tasks that are not on this host.
int wait_for_elsewhere(const std::string& id, federation::TaskSearch& search, std::int64_t deadline_ns,
                       const Context& context, ordered_json& rows) {
  const auto status = wait_elsewhere(search, id, deadline_ns);
  if (!status.ok()) return fail("task wait", status.error());
  const bool over = *status && is_over(**status);
  ordered_json row{{"id", id}, {"state", "pending"}, {"result", nullptr}, {"error", nullptr}};
  if (over) {
    const ordered_json known = json_elsewhere(**status);
    for (const char* name : {"state", "result", "error"}) row[name] = known[name];
  }
  const std::string state = row["state"].get<std::string>();
  if (!context.json) {
    const ordered_json& rest = row["error"].is_null() ? row["result"] : row["error"];
    fmt::print("{}  {}  {}\n", printable(id), context.style.paint(tone_of_state(state), state),
               over ? printable(one_line(rest)) : "not over yet");
    std::fflush(stdout);
  }
  rows.push_back(std::move(row));
  if (!over) return kExitTimeout;
  if (state == federation::kEndedState) return kExitNotFound;  // as of one here of which nothing was kept
  return state == "succeeded" ? kExitOk : kExitFailed;
}

int wait_for_tasks(const WaitOptions& options, const Context& context) {
  auto targets = Targets::open(options.ids, context);
  if (!targets.ok()) return fail("task wait", targets.error());
  std::optional<Client> client;
  if (targets->attached) {
    auto opened = Client::open(context.namespace_name, {.create = false});
    if (!opened.ok()) return fail("task wait", opened.error());
    client.emplace(*std::move(opened));
  }
  const std::int64_t now_ns = base::monotonic_ns();
  const std::int64_t deadline_ns =
      !options.timeout_ns || *options.timeout_ns >= INT64_MAX - now_ns ? INT64_MAX : now_ns + *options.timeout_ns;
  ordered_json rows = ordered_json::array();
  int code = kExitOk;
  for (const std::string& text : options.ids.texts) {
    TaskId id;
    const bool is_local = client && engine::parse_task_id(text, id);
    if (is_local && (!targets->redis || engine::Query(targets->attached->engine()).task(id))) {
      raise(code, wait_for_one(*client, id, deadline_ns, context, rows));
    } else {
      const std::string name = is_local ? cluster_name(targets->attached->segment(), id) : text;
      raise(code, wait_for_elsewhere(name, *targets->search, deadline_ns, context, rows));
    }
  }
  if (context.json) print_json(rows);
  return code;
}

Run build_wait(CommandLine& line) {
  auto options = std::make_shared<WaitOptions>();
  declare_ids(line, options->ids);
  declare_redis(line, options->ids.redis);
  line.duration_ns("--timeout", &options->timeout_ns, "for all of them together (default: none)");
  return [options](const Context& context) { return wait_for_tasks(*options, context); };
}

// ---- revoke

struct Answer {
  std::string_view outcome;
  std::string text;
  int code;
};

Answer answer_of(Revoked revoked) {
  switch (revoked) {
    case Revoked::kCancelled: return {"cancelled", "cancelled: it will not run", kExitOk};
    case Revoked::kAsked: return {"asked", "is running; its worker has been asked to stop it", kExitOk};
    case Revoked::kRunning:
      return {"running", "is running and was left alone; --terminate asks its worker to stop it", kExitFailed};
    case Revoked::kExported:
      return {"exported", "has left for another host; the gateway has been asked to revoke it there", kExitOk};
    case Revoked::kOver: return {"over", "is over already", kExitFailed};
    case Revoked::kUnknown:
      return {"unknown", "is not here: it is over and nothing was kept of it, or it never was", kExitNotFound};
  }
  return {"unknown", "gave an unexpected answer", kExitFailed};
}

struct RevokeOptions {
  IdArguments ids;
  bool terminate = false;
};

// What each id's command says, as a line or as an object.
void report(const std::string& id, const Answer& answer, const Context& context, ordered_json& rows) {
  if (context.json) {
    rows.push_back({{"id", id}, {"outcome", answer.outcome}});
  } else if (answer.code == kExitOk) {
    fmt::print("{} {}\n", printable(id), answer.text);
  } else {
    print_error(fmt::format("task {} {}", printable(id), answer.text));
  }
}

Result<Answer> revoke_in_cluster(const std::string& id, bool terminate, Targets& targets) {
  const auto revoked = revoke_elsewhere(*targets.redis, *targets.search, id, terminate);
  if (!revoked.ok()) return revoked.error();
  if (*revoked == RevokedElsewhere::kOver) return answer_of(Revoked::kOver);
  return Answer{"sent", "is not on this host; the host that has it, or gets it, has been told to revoke it", kExitOk};
}

// Over here and nothing kept of it: it may have left. What ended here and is kept has not.
bool may_be_elsewhere(Revoked revoked, TaskId id, const Attachment& attached) {
  return (revoked == Revoked::kOver || revoked == Revoked::kUnknown) &&
         !engine::Query(attached.engine()).task(id).has_value();
}

// Ids of other hosts (HOST-ID, or any that another program chose) go to Redis alone.
Result<Answer> revoke_one(const std::string& text, bool terminate, Targets& targets) {
  TaskId id;
  if (!targets.attached || !engine::parse_task_id(text, id)) return revoke_in_cluster(text, terminate, targets);
  const Revoked revoked = engine::Control(targets.attached->engine()).revoke(id, terminate, base::monotonic_ns());
  if (!targets.redis || !may_be_elsewhere(revoked, id, *targets.attached)) return answer_of(revoked);
  return revoke_in_cluster(cluster_name(targets.attached->segment(), id), terminate, targets);
}

int revoke_tasks(const RevokeOptions& options, const Context& context) {
  auto targets = Targets::open(options.ids, context);
  if (!targets.ok()) return fail("task revoke", targets.error());
  ordered_json rows = ordered_json::array();
  int code = kExitOk;
  for (const std::string& text : options.ids.texts) {
    const auto answer = revoke_one(text, options.terminate, *targets);
    if (!answer.ok()) return fail("task revoke", answer.error());
    report(text, *answer, context, rows);
    raise(code, answer->code);
  }
  if (context.json) print_json(rows);
  return code;
}

Run build_revoke(CommandLine& line) {
  auto options = std::make_shared<RevokeOptions>();
  declare_ids(line, options->ids);
  line.flag("--terminate", &options->terminate, "stop it even if it runs, by its stop token");
  declare_redis(line, options->ids.redis);
  return [options](const Context& context) { return revoke_tasks(*options, context); };
}

// ---- retry

struct RetryOptions {
  IdArguments ids;
  std::int64_t delay_ns = 0;
};

Answer retry_one(TaskId id, std::int64_t delay_ns, const Attachment& attached) {
  engine::DeadLetters dead(attached.engine());
  engine::DeadFilter filter;
  filter.id = engine::current_id(attached.segment(), id);
  const auto letters = dead.list(filter);
  if (!letters.empty()) {
    if (dead.replay(letters.front(), delay_ns, base::monotonic_ns())) {
      return {"replayed", "is queued again, with all its attempts", kExitOk};
    }
    return {"refused", "could not be replayed: it has just gone, or was delivered too often", kExitFailed};
  }
  const auto task = engine::Query(attached.engine()).task(id);
  if (!task) return answer_of(Revoked::kUnknown);
  return {"not-dead", fmt::format("is no dead letter but {}", task->state_name), kExitFailed};
}

int retry_tasks(const RetryOptions& options, const Context& context) {
  const auto ids = parse_ids(options.ids.texts);
  if (!ids.ok()) return fail("task retry", ids.error());
  const auto attached = Attachment::open(context);
  if (!attached.ok()) return fail("task retry", attached.error());
  ordered_json rows = ordered_json::array();
  int code = kExitOk;
  for (const TaskId id : *ids) {
    const Answer answer = retry_one(id, options.delay_ns, *attached);
    report(to_string(id), answer, context, rows);
    raise(code, answer.code);
  }
  if (context.json) print_json(rows);
  return code;
}

Run build_retry(CommandLine& line) {
  auto options = std::make_shared<RetryOptions>();
  declare_ids(line, options->ids);
  line.duration_ns("--delay", &options->delay_ns, "not before this has passed");
  return [options](const Context& context) { return retry_tasks(*options, context); };
}

}  // namespace

std::vector<Command> task_commands() {
  return {
      {.path = "task show",
       .group = Group::kTasks,
       .help = "State, attempts, worker, times, error, progress, result",
       .details = "With --redis, or a broker_url that is a Redis, also of tasks that are not on this host: how they "
                  "ended, by their name in the cluster (HOST-ID). Of one that nobody waits for it is known for an hour "
                  "that it has ended.",
       .examples = {{"stem task show 1f2e3d4c-00000000abc00012", ""}},
       .traits = kReads,
       .build = build_show},
      {.path = "task wait",
       .group = Group::kTasks,
       .help = "Wait for the end of tasks, and print their results",
       .details = "Exit code 0 when all succeeded, 70 when one failed, 3 when time ran out, 1 when "
                  "one is not known.",
       .examples = {{"stem task wait 1f2e3d4c-00000000abc00012 --timeout 30s", ""}},
       .traits = kReads,
       .build = build_wait},
      {.path = "task revoke",
       .group = Group::kTasks,
       .help = "Cancel tasks that have not started",
       .details = "A task that has left for another host is revoked there, by the gateways. With --redis, or a "
                  "broker_url that is a Redis, any task of the cluster can be revoked, from any host, by its name "
                  "there; how it ended is known where it came from, and in its result.",
       .examples = {{"stem task revoke 1f2e3d4c-00000000abc00012", ""},
                    {"stem task revoke 1f2e3d4c-00000000abc00012 --terminate", "even if it runs"}},
       .traits = kReads,
       .build = build_revoke},
      {.path = "task retry",
       .group = Group::kTasks,
       .help = "Run dead letters again, with all their attempts",
       .examples = {{"stem task retry 1f2e3d4c-00000000abc00012", ""}},
       .traits = kReads,
       .build = build_retry}};
}

}  // namespace stem::cli
