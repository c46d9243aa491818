// `stem task show|wait|revoke` of tasks that are on no host any more.
#include "federation/transcript.hpp"
#include "tests/cluster/cluster_test.hpp"

namespace stem::test {
namespace {

class TaskTest : public ClusterTest {
 protected:
  std::vector<std::string> task(const std::string& verb, const std::string& id) const {
    return {"task", verb, id, "--redis", server.url(), "--redis-namespace", "stem"};
  }
  static std::string name_of(Host& host, engine::TaskId id) {
    return federation::wire_id(federation::Transcript(host.segment()).host(), id);
  }
};

TEST_F(TaskTest, ThatNobodyWaitedForHasEnded) {
  Host a(server.url(), ledger), b(server.url(), ledger), c(server.url(), ledger);
  a.start_gateway();
  const engine::TaskId id = a.enqueue(1), other = a.enqueue(2);
  ASSERT_TRUE(wait_until([&] { return a.counter(shm::Counter::kExported) == 2; }, kLong));
  EXPECT_EQ(stem_on(c, task("show", name_of(a, id))).exit_code, 1) << "it is not over";
  b.start_worker();
  b.start_gateway();
  ASSERT_TRUE(wait_until([&] { return stem_on(c, task("show", name_of(a, id))).exit_code == 0; }, kLong));
  const nlohmann::json shown = json_on(c, task("show", name_of(a, id)))[0];
  EXPECT_EQ(shown["state"], "ended");
  EXPECT_EQ(shown["attempts"], nullptr);
  EXPECT_NE(stem_on(c, task("show", name_of(a, id))).out.find("nobody asked for it"), std::string::npos);
  EXPECT_EQ(json_on(a, task("wait", to_string(other)), 1)[0]["state"], "ended") << "by the name that its maker knows";
  EXPECT_EQ(json_on(c, task("revoke", name_of(a, id)), 70)[0]["outcome"], "over");
  EXPECT_EQ(stem_on(c, task("show", "nobody")).exit_code, 1);
}

}  // namespace
}  // namespace stem::test
