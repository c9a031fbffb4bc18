#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <thread>

#include "unit/stress.hpp"

namespace pgwc {
namespace {

using test::Ledger;
using test::Stress;

#ifdef __SANITIZE_THREAD__
constexpr bool kThreadSanitizer = true;
constexpr std::uint64_t kTransactions = 3000;
#else
constexpr bool kThreadSanitizer = false;
constexpr std::uint64_t kTransactions = 15000;
#endif

pid_t in_child(const std::function<void()>& work) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  work();
  ::_exit(0);
}

bool ended_well(pid_t pid) {
  int status = 0;
  return ::waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(Threads, EveryRowIsStoredOnceAndInItsWritersOrder) {
  Stress stress;
  std::vector<std::thread> writers;
  for (std::uint64_t w = 0; w < Ledger::kWriters; ++w)
    writers.emplace_back([&stress, w] { stress.write(w, kTransactions); });
  std::thread flusher([&] { stress.flush(); });
  std::thread watcher([&] { stress.watch(); });
  std::thread churner([&] { stress.churn(); });
  for (std::thread& writer : writers) writer.join();
  flusher.join();
  stress.ledger().stop.store(1);
  watcher.join();
  churner.join();
  stress.verify();
  EXPECT_GT(stress.stored_rows(), Ledger::kWriters * kTransactions);
}

TEST(Processes, EveryRowIsStoredOnceAndInItsWritersOrder) {
  if (kThreadSanitizer) GTEST_SKIP() << "it sees threads only";
  Stress stress;
  std::vector<pid_t> children;
  for (std::uint64_t w = 0; w < Ledger::kWriters; ++w)
    children.push_back(in_child([&] { stress.write(w, kTransactions); }));
  children.push_back(in_child([&] { stress.flush(); }));
  for (pid_t child : children) EXPECT_TRUE(ended_well(child));
  stress.verify();
  EXPECT_GT(stress.stored_rows(), Ledger::kWriters * kTransactions);
}

// What a kill -9 of the whole server does, and the next start.
TEST(Processes, KilledAtAnyTimeLoseAndDoubleNothing) {
  if (kThreadSanitizer) GTEST_SKIP() << "it sees threads only";
  Stress stress;
  std::mt19937 random(4711);
  constexpr int kRounds = 60;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<pid_t> children;
    for (std::uint64_t w = 0; w < Ledger::kWriters; ++w)
      children.push_back(in_child([&] { stress.write(w, UINT64_MAX); }));
    children.push_back(in_child([&] { stress.flush(); }));
    // Until something has happened, and then any moment.
    const std::uint64_t enough = stress.acknowledged() + random() % 4000;
    for (int i = 0; i < 2000 && stress.acknowledged() <= enough; ++i) ::usleep(500);
    ::usleep(random() % 1000);
    std::shuffle(children.begin(), children.end(), random);
    for (pid_t child : children) ::kill(child, SIGKILL);
    for (pid_t child : children) {
      int status = 0;
      ASSERT_EQ(::waitpid(child, &status, 0), child);
      ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "it found something wrong";
    }
    stress.start();
  }
  for (Ledger::Writer& writer : stress.ledger().writers) writer.done.store(1);
  stress.flush();
  stress.verify();
  EXPECT_GT(stress.stored_rows(), 10000u);
}

}  // namespace
}  // namespace pgwc
