#include "io/run_blocking.hpp"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

#include "base/check.hpp"
#include "io/tree.hpp"

namespace stem {
namespace co {
namespace {

class BlockingRoot final : public Root {
 public:
  using Root::Root;
  bool over = false;

 private:
  void finished() override { over = true; }
};

Tree run_tree(Co<void> main) { co_await std::move(main); }

}  // namespace

void run_on(io::Loop& loop, Co<void> main) {
  BlockingRoot root(loop);
  const Tree tree = run_tree(std::move(main));
  tree.handle.promise().scope = &root.scope();
  root.start(tree.handle);
  while (!root.over) STEM_CHECK(loop.run_once(io::kForever).ok());
  tree.handle.destroy();
}

}  // namespace co

io::Loop& blocking_loop() {
  thread_local std::unique_ptr<io::Loop> loop;
  thread_local pid_t made_by = 0;
  if (loop != nullptr && made_by == ::getpid()) return *loop;
  (void)loop.release();  // of before a fork: the parent's
  auto made = io::Loop::create();
  if (!made.ok()) {
    std::fprintf(stderr, "no loop: %s\n", made.error().message.c_str());
    std::abort();
  }
  loop = *std::move(made);
  made_by = ::getpid();
  return *loop;
}

}  // namespace stem
