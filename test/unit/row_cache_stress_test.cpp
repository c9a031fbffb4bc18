#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <thread>
#include <vector>

#include "unit/cache_stress.hpp"

namespace pgwc {
namespace {

using test::CacheStress;

#ifdef __SANITIZE_THREAD__
constexpr bool kThreadSanitizer = true;
constexpr int kSteps = 15000;
constexpr int kInvalidations = 60;
#else
constexpr bool kThreadSanitizer = false;
constexpr int kSteps = 60000;
constexpr int kInvalidations = 200;
#endif

struct Shape {
  const char* name;
  std::size_t bytes;
  std::uint32_t max_spaces;
};

class RowCacheStress : public testing::TestWithParam<Shape> {
 protected:
  // What goes on at the same time.
  static std::vector<std::function<void()>> work(CacheStress& stress) {
    std::vector<std::function<void()>> all;
    for (unsigned i = 0; i < 3; ++i) all.push_back([&stress, i] { stress.session(i, kSteps); });
    for (std::uint64_t space = 1; space <= 2; ++space)
      all.push_back([&stress, space] { stress.invalidator(space, kInvalidations); });
    return all;
  }
};

TEST_P(RowCacheStress, Threads) {
  CacheStress stress(GetParam().bytes, GetParam().max_spaces);
  std::vector<std::thread> threads;
  for (const auto& each : work(stress)) threads.emplace_back(each);
  for (std::thread& thread : threads) thread.join();
  stress.verify();
  EXPECT_GT(stress.found(), 1000u);
}

TEST_P(RowCacheStress, Processes) {
  if (kThreadSanitizer) GTEST_SKIP() << "it sees threads only";
  CacheStress stress(GetParam().bytes, GetParam().max_spaces);
  std::vector<pid_t> children;
  for (const auto& each : work(stress)) {
    const pid_t pid = ::fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      each();
      ::_exit(0);
    }
    children.push_back(pid);
  }
  for (pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  stress.verify();
  EXPECT_GT(stress.found(), 1000u);
}

INSTANTIATE_TEST_SUITE_P(Caches, RowCacheStress,
                         testing::Values(Shape{"Roomy", 8 << 20, 8}, Shape{"Full", 256 << 10, 8},
                                         Shape{"FewSlots", 128 << 10, 3}),
                         [](const auto& its) { return std::string(its.param.name); });

}  // namespace
}  // namespace pgwc
