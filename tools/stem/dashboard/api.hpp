// What the dashboard answers: the page's files, /metrics, the two signs of life, and the JSON API. The forms are those
// of the commands' --json, so that what a person learns of one holds for the other.
//
// Thread-safe.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "tools/stem/context.hpp"
#include "tools/stem/dashboard/gate.hpp"
#include "tools/stem/dashboard/observer.hpp"
#include "tools/stem/dashboard/web_server.hpp"

namespace stem::cli {

class Api {
 public:
  Api(const Context& context, const Observer& observer, const Gate& gate)
      : context_(context), observer_(observer), gate_(gate) {}

  [[nodiscard]] WebAnswer answer(const WebRequest& request) const;

 private:
  using Json = nlohmann::ordered_json;
  [[nodiscard]] WebAnswer metrics() const;
  [[nodiscard]] WebAnswer ready() const;
  [[nodiscard]] WebAnswer show(const WebRequest& request) const;
  [[nodiscard]] WebAnswer show_with(const std::function<Result<Json>(const Sight&)>& look) const;
  [[nodiscard]] Json session() const;

  const Context& context_;
  const Observer& observer_;
  const Gate& gate_;
};

WebAnswer json_answer(const nlohmann::ordered_json& document, int status = 200);

}  // namespace stem::cli
