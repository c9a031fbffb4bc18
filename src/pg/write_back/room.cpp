#include "pg/write_back/room.hpp"

#include "pg/server/settings.hpp"

extern "C" {
#include "utils/wait_event.h"
}

namespace pgwc::room {

namespace {

// Another look is taken at least this often: any wake-up may be missed by a session that was not
// waiting yet.
constexpr long kLookEveryMs = 100;

}  // namespace

void raise_full(Oid relation) {
  char* name = get_rel_name(relation);
  ereport(ERROR, errcode(ERRCODE_INSUFFICIENT_RESOURCES), errmsg("write buffer is full"),
          errdetail("Rows for table \"%s\" found no room in %d kB.", name ? name : "?",
                    settings::buffer_size_kb),
          errhint("Raise \"writecache.buffer_size\", or attach the table with when_full => "
                  "'write_through'."));
  pg_unreachable();
}

void wait_for_space(RoomWait* wait, DatabaseSlot* database, Oid relation) {
  const TimestampTz now = GetCurrentTimestamp();
  if (wait->since == 0) {
    wait->since = now;
    wait->deadline = settings::wait_timeout_ms == 0
                         ? PG_INT64_MAX
                         : TimestampTzPlusMilliseconds(now, settings::wait_timeout_ms);
  }
  if (now >= wait->deadline) {
    char* name = get_rel_name(relation);
    ereport(
        ERROR, errcode(ERRCODE_INSUFFICIENT_RESOURCES),
        errmsg("write buffer stayed full for %d ms", settings::wait_timeout_ms),
        errdetail("Rows for table \"%s\" found no room.", name ? name : "?"),
        errhint(
            "See writecache.stat_write_back for what holds it; raise \"writecache.buffer_size\" or "
            "\"writecache.wait_timeout\"."));
  }
  ConditionVariablePrepareToSleep(&server->progress);
  wake_worker(database);
  const long left = static_cast<long>((wait->deadline - now) / 1000);
  ConditionVariableTimedSleep(&server->progress, left < kLookEveryMs ? left + 1 : kLookEveryMs,
                              PG_WAIT_EXTENSION);
  ConditionVariableCancelSleep();
  CHECK_FOR_INTERRUPTS();
}

}  // namespace pgwc::room
