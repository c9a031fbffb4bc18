// Random operations on a cache and, beside it, on a map that forgets nothing. What the cache has
// must be what the map has; what it has not must have been evicted, and been counted.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <utility>

#include "unit/cache_rig.hpp"

namespace pgwc {
namespace {

using test::Bytes;
using test::cache_row;
using test::CacheRig;
using test::must;
using test::stamp_of;
using Found = RowCache::Found;
using Put = RowCache::Put;

struct Shape {
  unsigned seed;
  std::size_t bytes;
  std::uint32_t max_spaces;
  std::uint64_t spaces;  // may be more than that
  std::uint64_t keys;    // of each
  std::size_t usual_row;
};

class Model {
 public:
  explicit Model(const Shape& shape)
      : shape_(shape), random_(shape.seed), rig_(shape.bytes, shape.max_spaces) {}

  void run(int steps, int check_each) {
    for (int i = 1; i <= steps; ++i) {
      step();
      if (i % check_each == 0) compare();
    }
    compare();
  }
  std::uint64_t stored() const { return stored_; }
  std::uint64_t outdated() const { return outdated_; }

 private:
  using Key = std::pair<std::uint64_t, std::uint64_t>;
  struct Row {
    std::uint64_t stamp;
    std::uint64_t id;
    std::size_t size;
  };
  struct Ticket {  // an epoch read some time ago
    std::uint64_t epoch;
    std::uint64_t erasures;  // of its space, then
  };

  std::uint64_t below(std::uint64_t n) { return random_() % n; }
  std::uint64_t any_space() { return 1 + below(shape_.spaces); }
  Key any_key() {
    // Some keys are asked for more than others.
    const std::uint64_t range = below(4) == 0 ? shape_.keys : shape_.keys / 8 + 1;
    return {any_space(), below(range)};
  }
  std::size_t any_size() {
    switch (below(40)) {
      case 0:
        return 0;
      case 1:
        return below(rig_->max_row() + 1);
      case 2:
        return rig_->max_row() + below(2);
      default:
        return below(2 * shape_.usual_row);
    }
  }

  void step() {
    const std::uint64_t kind = below(1000);
    if (kind < 450)
      put();
    else if (kind < 850)
      find();
    else if (kind < 900)
      restamp();
    else if (kind < 960)
      erase();
    else if (kind < 990)
      find();
    else if (kind < 993)
      erase_space(any_space());
    else if (kind < 995)
      drop_space(any_space());
    else
      count();
  }

  void put() {
    const Key key = any_key();
    const std::size_t size = any_size();
    const std::uint64_t id = ++last_id_;
    Ticket& ticket = tickets_[key.first];
    if (ticket.epoch == 0 || below(3) == 0) ticket = {rig_->epoch(key.first), erasures_[key.first]};
    switch (rig_->put({key.first, key.second}, stamp_of(id), cache_row(id, size), ticket.epoch)) {
      case Put::kStored:
        must(ticket.erasures == erasures_[key.first], "an outdated row is refused");
        must(size <= rig_->max_row(), "a row too large is refused");
        rows_[key] = {id, id, size};
        ++stored_;
        must(matches(key), "what was just put is there");
        break;
      case Put::kTooLarge:
        must(size > rig_->max_row(), "only a row too large is too large");
        must(!matches(key), "its older row is gone");
        break;
      case Put::kNoRoom:
        must(shape_.spaces > shape_.max_spaces, "there is always room for a row");
        must(!matches(key), "there is none");
        break;
      case Put::kOutdated:
        ++outdated_;
        ticket.epoch = 0;
        break;
    }
  }

  // Asks the cache. What it has not got is struck from the map.
  bool matches(const Key& key) {
    const auto known = rows_.find(key);
    Stamp stamp{};
    Bytes into(known == rows_.end() ? rig_->max_row() : known->second.size);
    std::size_t size = 0;
    const Found found = rig_->find({key.first, key.second}, &stamp, into, &size);
    if (found == Found::kNo) {
      if (known != rows_.end()) rows_.erase(known);
      return false;
    }
    must(known != rows_.end() && found == Found::kYes, "nothing is found that was not put");
    must(size == known->second.size, "the newest row's size");
    must(into == cache_row(known->second.id, size), "the newest row");
    must(stamp == stamp_of(known->second.stamp), "the newest stamp");
    return true;
  }

  void find() { matches(any_key()); }

  void restamp() {
    const Key key = any_key();
    const bool there = matches(key);
    const bool right = below(2) == 0;
    const std::uint64_t next = ++last_id_;
    const std::uint64_t old = there ? rows_[key].stamp : 0;
    const bool done = rig_->restamp({key.first, key.second}, stamp_of(right ? old : old + 1000000),
                                    stamp_of(next));
    must(done == (there && right), "only the old stamp is replaced");
    if (done) rows_[key].stamp = next;
  }

  void erase() {
    const Key key = any_key();
    const bool there = matches(key);
    const std::uint64_t kind = below(3);
    const Stamp stamp = stamp_of((there ? rows_[key].stamp : 0) + (kind == 0 ? 1000000 : 0));
    const bool done = rig_->erase({key.first, key.second}, kind == 2 ? nullptr : &stamp);
    must(done == (there && kind != 0), "only what has the stamp is erased");
    must(matches(key) == (there && !done), "what is erased is gone");
  }

  void erase_space(std::uint64_t space) {
    const std::uint64_t entries = rig_.usage(space).entries;
    must(rig_->erase_space(space) == entries, "all of them are erased");
    ++erasures_[space];
    strike(space);
  }
  void drop_space(std::uint64_t space) {
    rig_->drop_space(space);
    SpaceUsage usage{};
    must(!rig_->usage(space, &usage), "a dropped space is unknown");
    ++erasures_[space];
    strike(space);
  }
  void strike(std::uint64_t space) {
    for (auto at = rows_.lower_bound({space, 0}); at != rows_.end() && at->first.first == space;) {
      const Key key = (at++)->first;
      must(!matches(key), "an erased space has no rows");
    }
  }
  void count() {
    rig_->count(any_space(), {1, 1, 1, 1, 1, 1});
    if (below(10) == 0) rig_->reset_counters(any_space());
  }

  void compare() {
    const char* wrong = rig_->check();
    must(wrong == nullptr, wrong);
    struct Sum {
      std::uint64_t entries, bytes;
    };
    std::map<std::uint64_t, Sum> sums;
    for (auto at = rows_.begin(); at != rows_.end();) {
      const Key key = (at++)->first;
      if (!matches(key)) continue;
      ++sums[key.first].entries;
      sums[key.first].bytes += rows_[key].size;
    }
    CacheUsage all = rig_->usage();
    must(all.bytes <= all.capacity, "the bound holds");
    for (std::uint64_t space = 1; space <= shape_.spaces; ++space) {
      const SpaceUsage usage = rig_.usage(space);
      must(usage.entries == sums[space].entries, "a space's entries are those that are found");
      must(usage.bytes >= sums[space].bytes + 80 * sums[space].entries, "its bytes are real");
      all.entries -= usage.entries;
      all.bytes -= usage.bytes;
    }
    must(all.entries == 0 && all.bytes == 0, "the spaces together are the cache");
  }

  Shape shape_;
  std::mt19937_64 random_;
  CacheRig rig_;
  std::map<Key, Row> rows_;
  std::map<std::uint64_t, Ticket> tickets_;
  std::map<std::uint64_t, std::uint64_t> erasures_;
  std::uint64_t last_id_ = 0;
  std::uint64_t stored_ = 0;
  std::uint64_t outdated_ = 0;
};

#ifdef __SANITIZE_THREAD__
constexpr int kSteps = 4000;
#else
constexpr int kSteps = 30000;
#endif

void run(const Shape& shape) {
  Model model(shape);
  model.run(kSteps, kSteps / 10);
  EXPECT_GT(model.stored(), static_cast<std::uint64_t>(kSteps) / 40);
  EXPECT_GT(model.outdated(), 0u);
}

TEST(RowCacheModel, WithRoomForAll) { run({1, 8 << 20, 16, 4, 500, 100}); }
TEST(RowCacheModel, Full) { run({2, 128 << 10, 16, 4, 2000, 100}); }
TEST(RowCacheModel, Tiny) { run({3, 36 << 10, 4, 3, 300, 100}); }
TEST(RowCacheModel, LargeRows) { run({4, 512 << 10, 16, 3, 500, 8000}); }
TEST(RowCacheModel, SeveralShards) { run({5, 8 << 20, 16, 5, 10000, 1500}); }
TEST(RowCacheModel, FewKeysManyReplacements) { run({6, 64 << 10, 8, 2, 20, 900}); }
TEST(RowCacheModel, MoreSpacesThanSlots) { run({7, 128 << 10, 4, 40, 10, 100}); }
TEST(RowCacheModel, ManySpaces) { run({8, 1 << 20, 200, 200, 50, 100}); }

}  // namespace
}  // namespace pgwc
