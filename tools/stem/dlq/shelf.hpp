// `stem dlq` for the dead letters of the cluster, which are in Redis: the same selection, words and answers as for those
// of this host.
#pragma once

#include <cstdint>
#include <functional>

#include "base/units.hpp"
#include "tools/stem/dlq/selection.hpp"
#include "tools/stem/redis_choice.hpp"

namespace stem::cli {

int list_shelf(const DeadSelection& selection, const RedisChoice& redis, const Context& context);
int show_shelf(const DeadSelection& selection, const RedisChoice& redis, const Context& context);
// `wait_ns` says how long the n-th of them waits.
int replay_shelf(const DeadSelection& selection, const std::function<std::int64_t(std::uint64_t n)>& wait_ns,
                 const RedisChoice& redis, const Context& context);
int purge_shelf(const DeadSelection& selection, const RedisChoice& redis, const Context& context);

}  // namespace stem::cli
