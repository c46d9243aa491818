// A shared object as a user would write one for --app.
#include "worker/handler_table.hpp"

extern "C" void stem_register(stem::worker::HandlerTable& table) {
  table.on("greet", [](stem::worker::TaskContext& context) {
    return stem::worker::Outcome::success("hello " + std::string(context.payload_text()));
  });
}
