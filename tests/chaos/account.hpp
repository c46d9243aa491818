// The account of a chaos run: what the ledgers say of every single task, and whether it adds up.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/chaos/roles.hpp"

namespace stem::chaos {

struct Account {
  // Tasks.
  std::uint64_t offered = 0, accepted = 0, refused = 0;
  std::uint64_t uncertain = 0;        // the producer was killed inside enqueue: it may be there or not
  std::uint64_t uncertain_there = 0;  // and was
  std::uint64_t acknowledged = 0;     // exactly one acknowledgement in the ledgers
  std::uint64_t unconfirmed = 0;      // acknowledged, and its worker killed before it could say so
  std::uint64_t ran = 0;              // tasks that were executed at least once
  // Executions.
  std::uint64_t executions = 0, retried = 0, snoozed = 0, fenced = 0;
  std::uint64_t cut_short = 0;  // by the death of the worker
  std::uint64_t on_record = 0;  // over and recorded, and its worker lost before it could say that it was acknowledged
  std::uint64_t incarnations = 0;
  // Faults.
  std::uint64_t lost = 0;         // accepted, and never acknowledged
  std::uint64_t twice = 0;        // acknowledged more than once
  std::uint64_t invented = 0;     // executed, never offered
  std::uint64_t unaccounted = 0;  // executions that nothing explains
  std::vector<std::string> examples;

  bool clean() const { return lost + twice + invented + unaccounted == 0; }
};

Account add_up(const Options& options, const std::string& directory, std::size_t ledger_capacity);

}  // namespace stem::chaos
