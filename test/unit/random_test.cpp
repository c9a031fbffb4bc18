// Random histories against a model, with crashes between operations and, store by store, inside
// them. A failure prints its seed's test and aborts: the state is then worth a debugger.
#include <gtest/gtest.h>

#include "unit/driver.hpp"

namespace pgwc {
namespace {

class RandomHistory : public ::testing::TestWithParam<unsigned> {};

TEST_P(RandomHistory, AgreesWithTheModelAfterEveryStepAndCrash) {
  test::Driver driver(GetParam(), 0);
  driver.run(3000);
  driver.finish_all();
  EXPECT_GT(driver.rows(), 500u);
}
INSTANTIATE_TEST_SUITE_P(Seeds, RandomHistory, ::testing::Range(0u, 40u));

class CrashPoints : public ::testing::TestWithParam<unsigned> {};

TEST_P(CrashPoints, InsideAnOperationLeaveTheStateBeforeOrAfterIt) {
  if (!PGWC_CAN_RECORD_STORES) GTEST_SKIP() << "needs x86-64 Linux, and no ThreadSanitizer";
  test::Driver driver(1000 + GetParam(), 12);
  driver.run(200);
  driver.finish_all();
  EXPECT_GT(driver.crashes(), 300u);
}
INSTANTIATE_TEST_SUITE_P(Seeds, CrashPoints, ::testing::Range(0u, 16u));

}  // namespace
}  // namespace pgwc
