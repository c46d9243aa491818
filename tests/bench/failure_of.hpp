// What a bench says when it gives up.
#pragma once

#include <string>

#include "bench/failure.hpp"

namespace stem::bench {

// The text of the Failure that `action` throws; empty when it throws none.
template <class Action>
std::string failure_of(Action action) {
  try {
    action();
  } catch (const Failure& failure) {
    return failure.what();
  }
  return "";
}

}  // namespace stem::bench
