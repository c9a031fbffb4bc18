// The library's entry: what is hooked, in which order.
#include "pg/boundary/injection.hpp"
#include "pg/live_read/freshness.hpp"
#include "pg/live_read/paths.hpp"
#include "pg/live_read/pending_append.hpp"
#include "pg/live_read/pending_scan.hpp"
#include "pg/live_read/unwrap.hpp"
#include "pg/row_cache/cache_key.hpp"
#include "pg/row_cache/cached_scan.hpp"
#include "pg/row_cache/explained.hpp"
#include "pg/row_cache/flight.hpp"
#include "pg/row_cache/paths.hpp"
#include "pg/row_cache/store.hpp"
#include "pg/row_cache/write_plan.hpp"
#include "pg/row_cache/written.hpp"
#include "pg/server/settings.hpp"
#include "pg/server/shmem.hpp"
#include "pg/server/workers.hpp"
#include "pg/tables/attachment.hpp"
#include "pg/tables/utility.hpp"
#include "pg/write_back/capture_insert.hpp"
#include "pg/write_back/drain.hpp"
#include "pg/write_back/queue_status.hpp"
#include "pg/write_back/passes.hpp"
#include "pg/write_back/own_rows.hpp"
#include "pg/write_back/publish.hpp"

extern "C" {
#include "optimizer/planner.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);
}

namespace {

constinit planner_hook_type previous_planner = nullptr;

PlannedStmt* plan(Query* parse, const char* query, int options, ParamListInfo parameters) {
  PlannedStmt* statement = previous_planner ? previous_planner(parse, query, options, parameters)
                                            : standard_planner(parse, query, options, parameters);
  if (statement->commandType == CMD_INSERT) pgwc::capture_insert::wrap_plan(statement);
  if (statement->commandType != CMD_SELECT) pgwc::row_cache::write_plan::wrap(statement);
  pgwc::unwrap::label(statement);
  return statement;
}

}  // namespace

void _PG_init(void) {
  // Loaded into a running session there is no shared memory to be had; functions say what is
  // missing.
  if (!process_shared_preload_libraries_in_progress) return;
  using namespace pgwc;
#ifdef PGWC_INJECTION
  injection::define_settings();
#endif
  settings::define();
  install_shmem_hooks();
  row_cache::install_shmem_hooks();
  row_cache::flight::install_shmem_hooks();
  row_cache::explained::install_shmem_hooks();
  previous_planner = planner_hook;
  planner_hook = plan;
  capture_insert::init();
  utility::install_hook();
  // Called in reverse: a transaction's own rows go first.
  row_cache::write_plan::install_hook();
  unwrap::install_hook();
  freshness::install_hook();
  own_rows::install_hook();
  pending_scan::init();
  pending_append::init();
  cached_scan::init();
  row_cache::install_planner_hook();
  live_read::install_planner_hooks();
  attachments::init();
  row_cache::cache_key::init();
  row_cache::init();
  row_cache::write_plan::init();
  row_cache::written::init();
  // Called in reverse: at commit rows are published first, then drains settled, then queues
  // dropped.
  workers::init();
  drain::init();
  passes::init();
  queue_status::init();
  publish::init();
  workers::register_launcher();
}
