// What is said on a fresh connection before anybody else may use it: who we are, which database, who the server is;
// then the end of our connection before this one. All but the last go out at once.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "federation/pipeline.hpp"
#include "federation/redis_connection.hpp"

namespace stem::federation {

class Greeting {
 public:
  // Puts a command into the connection's pipeline.
  using Queue = std::function<void(std::span<const std::string_view>, ReplyHandler)>;
  // Called once: the session, without its number, or the reason why there is none.
  using Done = std::function<void(Result<Session>)>;

  // `previous` is fenced when it was with the same life of the server. Lives until done, or until the connection ends.
  Greeting(const RedisOptions& options, std::optional<SessionIdentity> previous, Queue queue, Done done);
  void start();

 private:
  struct Step {
    std::vector<std::string> argv;
    std::function<void(const Reply&)> take;  // of a reply that is no error
    bool dispensable = false;                // a user who may not (NOPERM) goes without
  };
  void say(Step step);
  void check_role(const Reply& reply);
  void read_server(std::string_view info);
  void fence_or_finish();
  void finish(Result<Session> result);

  const RedisOptions& options_;
  std::optional<SessionIdentity> previous_;
  Queue queue_;
  Done done_;
  Session session_;
  bool done_called_ = false;
};

}  // namespace stem::federation
