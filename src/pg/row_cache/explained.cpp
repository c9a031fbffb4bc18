#include "pg/row_cache/explained.hpp"

#include "pg/boundary/compat.hpp"
#include "pg/server/settings.hpp"

extern "C" {
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/shmem.h"
}

namespace pgwc::row_cache::explained {

namespace {

constexpr char kTranche[] = "pg_writecache explained queries";
constexpr std::size_t kPlaces = 64;

// Guarded by the lock. Queries of one process may run inside each other; the inner one comes later.
struct Place {
  int leader;  // process id; 0: free
  int plan_node;
  std::uint64_t turn;
  CacheCounters counters;
};

struct Places {
  std::uint64_t turns;
  Place at[kPlaces];
};

constinit shmem_request_hook_type previous_request = nullptr;
constinit shmem_startup_hook_type previous_startup = nullptr;
constinit Places* places = nullptr;
constinit LWLock* lock = nullptr;

void request() {
  if (previous_request) previous_request();
  if (settings::cache_size_kb == 0) return;
  RequestAddinShmemSpace(sizeof(Places));
  RequestNamedLWLockTranche(kTranche, 1);
}

void startup() {
  if (previous_startup) previous_startup();
  if (IsBinaryUpgrade || settings::cache_size_kb == 0) return;
  LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
  bool found;
  places = static_cast<Places*>(ShmemInitStruct(kTranche, sizeof(Places), &found));
  LWLockRelease(AddinShmemInitLock);
  lock = &GetNamedLWLockTranche(kTranche)->lock;
  *places = {};
}

Place* newest(int leader, int plan_node) {
  Place* result = nullptr;
  for (Place& place : places->at)
    if (place.leader == leader && place.plan_node == plan_node &&
        (result == nullptr || place.turn > result->turn))
      result = &place;
  return result;
}

void give_back(void* argument) {
  auto* place = static_cast<Place*>(argument);
  LWLockAcquire(lock, LW_EXCLUSIVE);
  *place = {};
  LWLockRelease(lock);
}

}  // namespace

void install_shmem_hooks() {
  previous_request = shmem_request_hook;
  shmem_request_hook = request;
  previous_startup = shmem_startup_hook;
  shmem_startup_hook = startup;
}

void begin(int plan_node, MemoryContext query) {
  auto* at_end = static_cast<MemoryContextCallback*>(
      MemoryContextAllocZero(query, sizeof(MemoryContextCallback)));
  LWLockAcquire(lock, LW_EXCLUSIVE);
  Place* free = newest(0, 0);
  if (free != nullptr) *free = {MyProcPid, plan_node, ++places->turns, {}};
  LWLockRelease(lock);
  if (free == nullptr) return;
  at_end->func = give_back;
  at_end->arg = free;
  MemoryContextRegisterResetCallback(query, at_end);
}

void add(int plan_node, const CacheCounters& counters) noexcept {
  const PGPROC* leader = MyProc->lockGroupLeader;
  if (leader == nullptr) return;
  LWLockAcquire(lock, LW_EXCLUSIVE);
  if (Place* place = newest(leader->pid, plan_node)) {
    place->counters.hits_by_page += counters.hits_by_page;
    place->counters.hits_by_tid += counters.hits_by_tid;
    place->counters.misses += counters.misses;
    place->counters.failed_proofs += counters.failed_proofs;
  }
  LWLockRelease(lock);
}

CacheCounters of_workers(int plan_node) noexcept {
  CacheCounters counters{};
  LWLockAcquire(lock, LW_SHARED);
  if (const Place* place = newest(MyProcPid, plan_node)) counters = place->counters;
  LWLockRelease(lock);
  return counters;
}

}  // namespace pgwc::row_cache::explained
