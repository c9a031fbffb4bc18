#include "pg/row_cache/progress.hpp"

#include "pg/boundary/compat.hpp"
#include "pg/server/shmem.hpp"

extern "C" {
#include "catalog/pg_authid.h"
#include "funcapi.h"
}

namespace pgwc::row_cache::progress {

namespace {

// The first that is free, and still one that the type can have.
constexpr auto kCommand = static_cast<ProgressCommandType>(PROGRESS_COMMAND_COPY + 1);
static_assert(static_cast<int>(kCommand) <= 7);

enum Param : int { kExpected, kRead, kCached, kMark = PGSTAT_NUM_PROGRESS_PARAM - 1 };
// In case that somebody else had the same idea.
constexpr std::int64_t kOurs = 0x7067776377617266;

bool may_see(Oid role) {
  return has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS) ||
         has_privs_of_role(GetUserId(), role);
}

}  // namespace

void start(Oid relation, const Warming& warming) {
  pgstat_progress_start_command(kCommand, relation);
  pgstat_progress_update_param(kMark, kOurs);
  update(warming);
}

void update(const Warming& warming) {
  constexpr int kParams[] = {kExpected, kRead, kCached};
  const std::int64_t values[] = {warming.rows_expected, warming.rows_read, warming.rows_cached};
  pgstat_progress_update_multi_param(static_cast<int>(std::size(kParams)), kParams, values);
}

void end() { pgstat_progress_end_command(); }

}  // namespace pgwc::row_cache::progress

using namespace pgwc;
using namespace pgwc::row_cache::progress;

PGWC_FUNCTION(pgwc_progress_warm) {
  require_buffer();
  InitMaterializedSRF(fcinfo, 0);
  auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
  const int count = pgstat_fetch_stat_numbackends();
  for (int i = 1; i <= count; ++i) {
    const PgBackendStatus* session = compat::session_status(i);
    if (session->st_progress_command != kCommand || session->st_databaseid != MyDatabaseId ||
        session->st_progress_param[kMark] != kOurs)
      continue;
    const std::int64_t* numbers = session->st_progress_param;
    const bool hidden = !may_see(session->st_userid);
    Datum values[] = {Int32GetDatum(session->st_procpid),
                      ObjectIdGetDatum(session->st_progress_command_target),
                      Int64GetDatum(numbers[kExpected]), Int64GetDatum(numbers[kRead]),
                      Int64GetDatum(numbers[kCached])};
    bool nulls[] = {false, hidden, hidden || numbers[kExpected] < 0, hidden, hidden};
    tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
  }
  PG_RETURN_VOID();
}
