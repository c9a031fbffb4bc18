#include "pg/row_cache/flight.hpp"

#include "pg/boundary/compat.hpp"
#include "pg/server/settings.hpp"

extern "C" {
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/wait_event.h"
}

namespace pgwc::row_cache::flight {

namespace {

constexpr char kTranche[] = "pg_writecache flights";
constexpr std::size_t kFlights = 256;

// Guarded by the lock but for the condition variable.
struct Flight {
  CacheKey key;  // space 0: free
  int leader;    // process number
  bool evicted;
  ConditionVariable landed;
};

struct Flights {
  Flight at[kFlights];
};

constinit shmem_request_hook_type previous_request = nullptr;
constinit shmem_startup_hook_type previous_startup = nullptr;
constinit Flights* flights = nullptr;
constinit LWLock* lock = nullptr;

void request() {
  if (previous_request) previous_request();
  if (settings::cache_size_kb == 0) return;
  RequestAddinShmemSpace(sizeof(Flights));
  RequestNamedLWLockTranche(kTranche, 1);
}

void startup() {
  if (previous_startup) previous_startup();
  if (IsBinaryUpgrade || settings::cache_size_kb == 0) return;
  LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
  bool found;
  flights = static_cast<Flights*>(ShmemInitStruct(kTranche, sizeof(Flights), &found));
  LWLockRelease(AddinShmemInitLock);
  lock = &GetNamedLWLockTranche(kTranche)->lock;
  memset(static_cast<void*>(flights), 0, sizeof(Flights));
  for (Flight& flight : flights->at) ConditionVariableInit(&flight.landed);
}

// A key has one place, which another key may have taken.
Flight* place_of(CacheKey key) { return &flights->at[key.hash % kFlights]; }

bool is_for(const Flight* flight, CacheKey key) {
  return flight->key.space == key.space && flight->key.hash == key.hash;
}

bool is_under_way(CacheKey key) {
  LWLockAcquire(lock, LW_SHARED);
  const bool found = is_for(place_of(key), key);
  LWLockRelease(lock);
  return found;
}

}  // namespace

void install_shmem_hooks() {
  previous_request = shmem_request_hook;
  shmem_request_hook = request;
  previous_startup = shmem_startup_hook;
  shmem_startup_hook = startup;
}

Role board(CacheKey key) {
  Flight* flight = place_of(key);
  Role role = Role::kAlone;
  LWLockAcquire(lock, LW_EXCLUSIVE);
  if (flight->key.space == 0) {
    flight->key = key;
    flight->leader = compat::my_proc_number();
    flight->evicted = false;
    role = Role::kLeads;
  } else if (is_for(flight, key) && flight->leader != compat::my_proc_number()) {
    role = Role::kFollows;
  }
  LWLockRelease(lock);
  return role;
}

bool land(CacheKey key) {
  Flight* flight = place_of(key);
  LWLockAcquire(lock, LW_EXCLUSIVE);
  const bool evicted = flight->evicted;
  flight->key = {};
  LWLockRelease(lock);
  ConditionVariableBroadcast(&flight->landed);
  return evicted;
}

void evicted(CacheKey key) {
  Flight* flight = place_of(key);
  LWLockAcquire(lock, LW_EXCLUSIVE);
  if (is_for(flight, key)) flight->evicted = true;
  LWLockRelease(lock);
}

bool await(CacheKey key, std::int64_t timeout_us) {
  Flight* flight = place_of(key);
  const TimestampTz end = GetCurrentTimestamp() + timeout_us;
  bool landed = true;
  ConditionVariablePrepareToSleep(&flight->landed);
  while (is_under_way(key)) {
    const std::int64_t left_ms = (end - GetCurrentTimestamp()) / 1000;
    if (left_ms <= 0) {
      landed = false;
      break;
    }
    (void)ConditionVariableTimedSleep(&flight->landed, static_cast<long>(left_ms),
                                      PG_WAIT_EXTENSION);
  }
  ConditionVariableCancelSleep();
  return landed;
}

}  // namespace pgwc::row_cache::flight
