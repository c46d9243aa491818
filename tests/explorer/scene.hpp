// A scene: two or three actors and what must hold when they are over, whoever went on when, whichever store a load
// returned, and whoever died.
#pragma once

#include <memory>
#include <vector>

#include "machine.hpp"

namespace explorer {

struct Scene {
  const char* name;
  std::unique_ptr<Play> (*make)();
};

template <class P>
std::unique_ptr<Play> make_play() {
  return std::make_unique<P>();
}

// Of the product: its sources, compiled with the machine's atomics. They must never fail.
const std::vector<Scene>& scenes();
void add_segment_scenes(std::vector<Scene>& to);
void add_sleep_scenes(std::vector<Scene>& to);
void add_engine_scenes(std::vector<Scene>& to);
void add_limit_scenes(std::vector<Scene>& to);

// Of the machine itself: what the language allows, and what it forbids.
struct Litmus {
  Scene scene;
  bool allowed;  // its "fault" is a result that the language allows, and the machine must find
};
const std::vector<Litmus>& litmus_tests();

}  // namespace explorer
