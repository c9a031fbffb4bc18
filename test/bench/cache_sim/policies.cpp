#include "policies.hpp"

#include <algorithm>
#include <list>
#include <set>
#include <unordered_map>
#include <utility>

namespace sim {

namespace {

class Fifo : public Policy {
 public:
  explicit Fifo(std::size_t capacity) : capacity_(capacity) {}
  bool access(Key key) override {
    const auto found = where_.find(key);
    if (found != where_.end()) {
      use(found->second);
      return true;
    }
    if (order_.size() == capacity_) {
      where_.erase(order_.back());
      order_.pop_back();
    }
    order_.push_front(key);
    where_[key] = order_.begin();
    return false;
  }

 protected:
  using Order = std::list<Key>;
  virtual void use(Order::iterator) {}
  Order order_;  // the one to go last

 private:
  std::size_t capacity_;
  std::unordered_map<Key, Order::iterator> where_;
};

class Lru final : public Fifo {
 public:
  using Fifo::Fifo;

 private:
  void use(Order::iterator at) override { order_.splice(order_.begin(), order_, at); }
};

class S3Fifo final : public Policy {
 public:
  explicit S3Fifo(std::size_t capacity) : capacity_(capacity), ghost_capacity_(capacity * 9 / 10) {}

  bool access(Key key) override {
    const auto found = objects_.find(key);
    if (found != objects_.end()) {
      found->second.freq = std::min(found->second.freq + 1, 3);
      return true;
    }
    const auto ghost = ghosts_.find(key);
    const bool is_ghost = ghost != ghosts_.end();
    if (is_ghost) {
      ghost_order_.erase(ghost->second);
      ghosts_.erase(ghost);
    }
    while (objects_.size() >= capacity_) evict();
    (is_ghost ? main_ : small_).push_front(key);
    objects_[key] = {};
    return false;
  }

 private:
  struct Object {
    int freq = 0;
  };

  void evict() {
    if (small_.size() * 10 >= capacity_)
      evict_small();
    else
      evict_main();
  }
  void evict_small() {
    while (!small_.empty()) {
      const Key key = small_.back();
      small_.pop_back();
      Object& object = objects_[key];
      if (object.freq > 1) {
        object.freq = 0;
        main_.push_front(key);
        if (main_.size() * 10 > capacity_ * 9) evict_main();
        continue;
      }
      objects_.erase(key);
      remember(key);
      return;
    }
  }
  void evict_main() {
    while (!main_.empty()) {
      const Key key = main_.back();
      main_.pop_back();
      Object& object = objects_[key];
      if (object.freq > 0) {
        --object.freq;
        main_.push_front(key);
        continue;
      }
      objects_.erase(key);
      return;
    }
  }
  void remember(Key key) {
    if (ghosts_.size() == ghost_capacity_) {
      ghosts_.erase(ghost_order_.back());
      ghost_order_.pop_back();
    }
    ghost_order_.push_front(key);
    ghosts_[key] = ghost_order_.begin();
  }

  std::size_t capacity_;
  std::size_t ghost_capacity_;
  std::unordered_map<Key, Object> objects_;
  std::list<Key> small_;
  std::list<Key> main_;
  std::list<Key> ghost_order_;
  std::unordered_map<Key, std::list<Key>::iterator> ghosts_;
};

class Belady final : public Policy {
 public:
  Belady(std::size_t capacity, const Trace& trace) : capacity_(capacity), next_(trace.size()) {
    std::unordered_map<Key, std::size_t> later;
    for (std::size_t i = trace.size(); i-- > 0;) {
      const auto found = later.find(trace[i]);
      next_[i] = found == later.end() ? trace.size() + i : found->second;  // never: all differ
      later[trace[i]] = i;
    }
  }
  bool access(Key key) override {
    const std::size_t next = next_[now_];
    const bool hit = uses_.erase({now_, key}) == 1;
    ++now_;
    uses_.insert({next, key});
    if (uses_.size() > capacity_) uses_.erase(std::prev(uses_.end()));
    return hit;
  }

 private:
  std::size_t capacity_;
  std::vector<std::size_t> next_;  // when the key at a place of the trace comes again
  std::size_t now_ = 0;
  std::set<std::pair<std::size_t, Key>> uses_;
};

}  // namespace

std::unique_ptr<Policy> make_fifo(std::size_t capacity) { return std::make_unique<Fifo>(capacity); }
std::unique_ptr<Policy> make_lru(std::size_t capacity) { return std::make_unique<Lru>(capacity); }
std::unique_ptr<Policy> make_s3fifo(std::size_t capacity) {
  return std::make_unique<S3Fifo>(capacity);
}
std::unique_ptr<Policy> make_belady(std::size_t capacity, const Trace& trace) {
  return std::make_unique<Belady>(capacity, trace);
}

}  // namespace sim
