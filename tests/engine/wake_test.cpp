// Who is woken when: a sleeping worker is rung for each task, or once for many while wakes are held.
#include "shm/doorbell.hpp"
#include "virtual_host.hpp"

namespace stem::engine {
namespace {

class Wakes : public VirtualHost {
 protected:
  std::uint32_t rings() { return worker_->self().row().doorbell.load(); }
};

TEST_F(Wakes, ASleepingWorkerIsRungForATask) {
  const std::uint32_t before = rings();
  shm::set_sleep_bit(worker_->self());
  put(1);
  EXPECT_EQ(rings(), before + 1);
}

TEST_F(Wakes, HeldWakesAreOneForAll) {
  const std::uint32_t before = rings();
  shm::set_sleep_bit(worker_->self());
  producer_->hold_wakes(true);
  for (std::uint64_t n = 0; n < 5; ++n) put(n);
  EXPECT_EQ(rings(), before);
  producer_->wake_held(queue_);
  EXPECT_EQ(rings(), before + 1);
  shm::set_sleep_bit(worker_->self());
  producer_->hold_wakes(false);
  producer_->wake_held(queue_);
  EXPECT_EQ(rings(), before + 1) << "nothing came since";
  put(6);
  EXPECT_EQ(rings(), before + 2);
  EXPECT_EQ(drain().size(), 6u);
}

}  // namespace
}  // namespace stem::engine
