// What the dashboard does to a segment, for whoever has the token. Each act attaches for its own time: the dashboard's
// lasting mapping stays read-only. Each is written to the log with who asked for it.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "tools/stem/context.hpp"
#include "tools/stem/dashboard/web_server.hpp"
#include "tools/stem/dlq/selection.hpp"

namespace stem::cli {

// POST /api/queue/pause|resume   {"queue"}
// POST /api/task/revoke          {"id", "terminate"}
// POST /api/task/retry           {"id"}
// POST /api/dlq/replay|purge     {"queue", "fingerprint", "reason", "ids", "upTo", "perSecond"}
WebAnswer act(const WebRequest& request, const Context& context);

// Dead letters that a person saw: those that died up to a moment of the segment's clock, so that what died since is not
// touched by what was meant for them.
struct SeenLetters {
  DeadSelection selection;
  std::int64_t up_to_ns = 0;  // CLOCK_MONOTONIC; 0 = all
};
// kInvalidArgument for what makes no sense. `given` is an object.
Result<SeenLetters> seen_letters(const nlohmann::json& given);
Result<SelectedLetters> select_seen(const SeenLetters& seen, const Attachment& attachment);

}  // namespace stem::cli
