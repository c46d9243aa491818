#include <dlfcn.h>

#include "worker/handler_table.hpp"

namespace stem::worker {

Result<void> load_app(const std::string& path, HandlerTable& table) {
  // A bare name would be searched in the system's library path; here it means a file.
  const std::string file = path.find('/') == std::string::npos ? "./" + path : path;
  void* library = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return Error{Errc::kInvalidArgument, std::string("--app: ") + ::dlerror()};
  using Register = void (*)(HandlerTable&);
  const auto add = reinterpret_cast<Register>(::dlsym(library, "stem_register"));
  if (add == nullptr) {
    return Error{Errc::kInvalidArgument, "--app " + path +
                                             " exports no stem_register; add: extern \"C\" void "
                                             "stem_register(stem::worker::HandlerTable& table)"};
  }
  const std::size_t before = table.entries().size();
  table.describe_next("app", path);
  add(table);
  table.describe_next("function", {});
  if (table.entries().size() == before)
    return Error{Errc::kInvalidArgument, "--app " + path + " registered no new handler"};
  return {};
}

}  // namespace stem::worker
