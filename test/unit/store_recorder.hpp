// Every state that a process killed in the middle leaves behind.
//
// While an operation runs, the memory that it writes to is write-protected: each store faults, is
// let through alone (the processor's single-step flag) and noted. Replayed one by one, the notes
// give the memory as it was after each single store of the very machine code under test.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "unit/rows.hpp"

#if defined(__x86_64__) && defined(__linux__) && !defined(__SANITIZE_THREAD__)
#define PGWC_CAN_RECORD_STORES 1
#include <ucontext.h>
#else
#define PGWC_CAN_RECORD_STORES 0
#endif

namespace pgwc::test {

// Zeroed pages, whole ones, that can be protected.
class Pages {
 public:
  explicit Pages(std::size_t size)
      : size_(size),
        data_(::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) {
    must(data_ != MAP_FAILED, "memory");
  }
  ~Pages() { ::munmap(data_, size_); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  std::byte* data() const { return static_cast<std::byte*>(data_); }
  std::size_t size() const { return size_; }

 private:
  std::size_t size_;
  void* data_;
};

class StoreRecorder {
 public:
  explicit StoreRecorder(const Pages& memory)
      : memory_(memory.data()), size_(memory.size()), shadow_(memory.size()) {
    stores_.reserve(kMostStores);
    bytes_.reserve(kMostBytes);
  }

  // Runs the operation and notes its stores. Without the means to, only runs it.
  template <class Operation>
  void record(Operation&& operation) {
    stores_.clear();
    bytes_.clear();
#if PGWC_CAN_RECORD_STORES
    std::memcpy(shadow_.data(), memory_, size_);
    active_ = this;
    struct sigaction action {};
    action.sa_flags = SA_SIGINFO;
    sigemptyset(&action.sa_mask);
    action.sa_sigaction = on_fault;
    ::sigaction(SIGSEGV, &action, &old_fault_);
    action.sa_sigaction = on_step;
    struct sigaction old_step {};
    ::sigaction(SIGTRAP, &action, &old_step);
    ::mprotect(memory_, size_, PROT_READ);
    operation();
    ::mprotect(memory_, size_, PROT_READ | PROT_WRITE);
    ::sigaction(SIGSEGV, &old_fault_, nullptr);
    ::sigaction(SIGTRAP, &old_step, nullptr);
    active_ = nullptr;
#else
    operation();
#endif
  }

  std::size_t count() const { return stores_.size(); }

  // Brings a copy of the memory forward by its i-th store.
  void replay(std::size_t i, std::byte* copy) const {
    const Store& store = stores_[i];
    std::memcpy(copy + store.offset, bytes_.data() + store.from, store.size);
  }

 private:
  static constexpr std::size_t kPage = 4096;
  static constexpr std::size_t kMostStores = 1u << 17;
  static constexpr std::size_t kMostBytes = 1u << 23;

  struct Store {
    std::size_t offset;
    std::size_t size;
    std::size_t from;
  };

#if PGWC_CAN_RECORD_STORES
  static constexpr greg_t kStepFlag = 0x100;

  static void on_fault(int, siginfo_t* info, void* context) {
    StoreRecorder& self = *active_;
    auto* address = static_cast<std::byte*>(info->si_addr);
    if (address < self.memory_ || address >= self.memory_ + self.size_) {
      ::sigaction(SIGSEGV, &self.old_fault_, nullptr);  // a real one: happens again, unhandled
      return;
    }
    const std::size_t page = static_cast<std::size_t>(address - self.memory_) / kPage;
    must(self.open_count_ < 4, "an instruction stores to few pages");
    self.open_[self.open_count_++] = page;
    ::mprotect(self.memory_ + page * kPage, kPage, PROT_READ | PROT_WRITE);
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL] |= kStepFlag;
  }

  static void on_step(int, siginfo_t*, void* context) {
    StoreRecorder& self = *active_;
    for (std::size_t i = 0; i < self.open_count_; ++i) {
      self.note(self.open_[i] * kPage);
      ::mprotect(self.memory_ + self.open_[i] * kPage, kPage, PROT_READ);
    }
    self.open_count_ = 0;
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL] &= ~kStepFlag;
  }

  void note(std::size_t page) {
    std::size_t from = page;
    std::size_t to = page + kPage;
    while (from < to && memory_[from] == shadow_[from]) ++from;
    while (to > from && memory_[to - 1] == shadow_[to - 1]) --to;
    if (from == to) return;
    must(stores_.size() < kMostStores && bytes_.size() + (to - from) <= kMostBytes,
         "the operation is small");
    stores_.push_back({from, to - from, bytes_.size()});
    for (std::size_t at = from; at < to; ++at) bytes_.push_back(shadow_[at] = memory_[at]);
  }

  static inline StoreRecorder* active_ = nullptr;
  struct sigaction old_fault_ {};
  std::size_t open_[4];
  std::size_t open_count_ = 0;
#endif

  std::byte* memory_;
  std::size_t size_;
  Bytes shadow_;
  std::vector<Store> stores_;
  Bytes bytes_;
};

}  // namespace pgwc::test
