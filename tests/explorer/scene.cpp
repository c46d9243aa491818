#include "scene.hpp"

namespace explorer {

const std::vector<Scene>& scenes() {
  static const std::vector<Scene> all = [] {
    std::vector<Scene> made;
    add_segment_scenes(made);
    add_sleep_scenes(made);
    add_engine_scenes(made);
    add_limit_scenes(made);
    return made;
  }();
  return all;
}

}  // namespace explorer
