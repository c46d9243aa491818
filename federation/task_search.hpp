// What Redis knows of a task by its id alone, for command lines: in which queue it was is not known, so all that have
// streams there are looked through.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "base/result.hpp"
#include "federation/blocking_client.hpp"
#include "federation/keys.hpp"
#include "federation/records.hpp"

namespace stem::federation {

class TaskSearch {
 public:
  // The client outlives it.
  TaskSearch(BlockingClient& client, Keys keys) : client_(&client), keys_(std::move(keys)) {}

  // How it ended, or what was said of it last. Of a task that nobody waits for, state kEndedState for an hour after its
  // end. Nothing when Redis has no word of it.
  Result<std::optional<TaskStatus>> find(const std::string& id);

 private:
  Result<void> find_queues();
  Result<std::optional<TaskStatus>> result_in(const std::string& queue, const std::string& id);
  Result<bool> has_ended_in(const std::string& queue, const std::string& id);
  Result<std::optional<TaskStatus>> find_in(const std::string& queue, const std::string& id);

  BlockingClient* client_;
  Keys keys_;
  std::set<std::string> queues_;
  std::int64_t queues_at_ns_ = 0;                 // when they are looked for again
  std::string sought_;                            // the task that was asked for last, and
  std::map<std::string, std::string> read_from_;  // how far each queue's log of the ended was read for it
};

}  // namespace stem::federation
