#include "pg/row_cache/store.hpp"

#include <new>

#include "pg/server/settings.hpp"
#include "pg/server/shmem.hpp"

extern "C" {
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/shmem.h"
}

namespace pgwc::row_cache {

namespace {

constexpr char kTranche[] = "pg_writecache row cache";
constexpr std::uint32_t kMaxSpaces = 4096;

class LwSharedLocks final : public SharedLocks {
 public:
  void acquire_shared(std::uint32_t id) noexcept override {
    LWLockAcquire(&base_[id].lock, LW_SHARED);
  }
  void acquire(std::uint32_t id) noexcept override { LWLockAcquire(&base_[id].lock, LW_EXCLUSIVE); }
  void release(std::uint32_t id) noexcept override { LWLockRelease(&base_[id].lock); }
  void set(LWLockPadded* base) { base_ = base; }

 private:
  LWLockPadded* base_ = nullptr;
};

constinit shmem_request_hook_type previous_request = nullptr;
constinit shmem_startup_hook_type previous_startup = nullptr;
// Filled by the postmaster and inherited.
alignas(RowCache) std::byte cache_storage[sizeof(RowCache)];
alignas(LwSharedLocks) std::byte locks_storage[sizeof(LwSharedLocks)];
constinit CacheGeometry geometry{};
constinit bool ready = false;

void request() {
  if (previous_request) previous_request();
  if (settings::cache_size_kb == 0) return;
  geometry = cache_geometry(std::size_t{static_cast<unsigned>(settings::cache_size_kb)} * 1024,
                            kMaxSpaces);
  RequestAddinShmemSpace(add_size(geometry.bytes, kCacheLine));
  RequestNamedLWLockTranche(kTranche, static_cast<int>(geometry.shards) + 1);
}

void startup() {
  if (previous_startup) previous_startup();
  if (IsBinaryUpgrade || settings::cache_size_kb == 0) return;
  LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
  bool found;
  void* memory = ShmemInitStruct("pg_writecache row cache", geometry.bytes + kCacheLine, &found);
  LWLockRelease(AddinShmemInitLock);
  auto* locks = new (locks_storage) LwSharedLocks;
  locks->set(GetNamedLWLockTranche(kTranche));
  auto* aligned =
      reinterpret_cast<std::byte*>(TYPEALIGN(kCacheLine, reinterpret_cast<std::uintptr_t>(memory)));
  new (cache_storage) RowCache(aligned, geometry, *locks);
  ready = true;
}

// What this process counted since it published last. A few relations; one that does not fit takes
// the place of another, which is published.
struct Pending {
  std::uint64_t space;
  std::uint32_t events;
  CacheCounters counters;
};
constexpr std::size_t kPlaces = 16;
constexpr std::uint32_t kManyEvents = 256;
constinit Pending places[kPlaces]{};
constinit TimestampTz published_at = 0;
constinit bool any_pending = false;
constinit bool exit_registered = false;

void publish(Pending* place) noexcept {
  if (place->events == 0) return;
  cache().count(place->space, place->counters);
  place->events = 0;
  place->counters = {};
}

void at_exit(int, Datum) { publish_counts(); }

void at_end_of_transaction(XactEvent event, void*) {
  if (!any_pending || (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT)) return;
  // The time of the statement costs no system call.
  const TimestampTz now = GetCurrentStatementStartTimestamp();
  if (now - published_at >= USECS_PER_SEC) {
    published_at = now;
    publish_counts();
  }
}

}  // namespace

void install_shmem_hooks() {
  previous_request = shmem_request_hook;
  shmem_request_hook = request;
  previous_startup = shmem_startup_hook;
  shmem_startup_hook = startup;
}

void init() { RegisterXactCallback(at_end_of_transaction, nullptr); }

bool enabled() { return ready; }

void require() {
  if (ready) return;
  require_buffer();
  ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("there is no row cache"),
          errhint("Set \"writecache.cache_size\" and restart the server."));
}

RowCache& cache() { return *std::launder(reinterpret_cast<RowCache*>(cache_storage)); }

void count(std::uint64_t space, const CacheCounters& delta) noexcept {
  if (!exit_registered && MyProc != nullptr) {
    exit_registered = true;
    before_shmem_exit(at_exit, 0);
  }
  Pending* place = &places[space % kPlaces];
  if (place->space != space) {
    publish(place);
    place->space = space;
  }
  place->counters.hits_by_page += delta.hits_by_page;
  place->counters.hits_by_tid += delta.hits_by_tid;
  place->counters.hits_by_age += delta.hits_by_age;
  place->counters.misses += delta.misses;
  place->counters.failed_proofs += delta.failed_proofs;
  place->counters.waits += delta.waits;
  any_pending = true;
  if (++place->events >= kManyEvents) publish(place);
}

void publish_counts() noexcept {
  if (!any_pending) return;
  any_pending = false;
  for (Pending& place : places) publish(&place);
}

void drop(Oid relation) noexcept {
  if (ready) cache().drop_space(space_of(relation));
}

}  // namespace pgwc::row_cache
