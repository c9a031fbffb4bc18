// SQL functions attach, alter, detach, and the trigger on writecache.attached.
#include <cstring>

#include "pg/boundary/compat.hpp"
#include "pg/boundary/injection.hpp"
#include "pg/row_cache/attachable.hpp"
#include "pg/row_cache/store.hpp"
#include "pg/server/shmem.hpp"
#include "pg/tables/attachment.hpp"
#include "pg/tables/catalog.hpp"
#include "pg/tables/triggers.hpp"
#include "pg/write_back/drain.hpp"
#include "pg/write_back/queue_status.hpp"
#include "pg/write_back/staging.hpp"

extern "C" {
#include "access/genam.h"
#include "catalog/catalog.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "commands/sequence.h"
#include "commands/tablecmds.h"
#include "commands/trigger.h"
#include "foreign/fdwapi.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/syscache.h"
}

namespace pgwc {

namespace {

using namespace catalog;

// Keeps out writers and the flush worker.
constexpr LOCKMODE kLock = ShareRowExclusiveLock;

[[noreturn]] void refuse(Relation relation, const char* what, const char* hint) {
  ereport(ERROR, errcode(ERRCODE_WRONG_OBJECT_TYPE),
          errmsg("cannot attach %s \"%s\" as write_back", what, RelationGetRelationName(relation)),
          errhint("%s", hint));
  pg_unreachable();
}

void check_kind(Relation relation) {
  const Form_pg_class form = relation->rd_rel;
  constexpr char kOrdinary[] =
      "Attach an ordinary table, a partitioned table or a foreign table that accepts INSERT.";
  switch (form->relkind) {
    case RELKIND_RELATION:
    case RELKIND_PARTITIONED_TABLE:
      break;
    case RELKIND_FOREIGN_TABLE: {
      const FdwRoutine* fdw = GetFdwRoutineForRelation(relation, false);
      const int allowed = fdw->IsForeignRelUpdatable
                              ? fdw->IsForeignRelUpdatable(relation)
                              : (fdw->ExecForeignInsert ? 1 << CMD_INSERT : 0);
      if (fdw->ExecForeignInsert == nullptr || (allowed & (1 << CMD_INSERT)) == 0)
        refuse(relation, "foreign table without INSERT",
               "Its foreign-data wrapper or its options forbid INSERT.");
      break;
    }
    case RELKIND_VIEW:
      refuse(relation, "view", "Attach the table that the view inserts into.");
    case RELKIND_MATVIEW:
      refuse(relation, "materialized view", kOrdinary);
    default:
      refuse(relation, "relation", kOrdinary);
  }
  if (form->relpersistence == RELPERSISTENCE_TEMP)
    refuse(relation, "temporary table",
           "Its rows are visible to one session only, and so never reach the flush worker.");
  if (form->relpersistence == RELPERSISTENCE_UNLOGGED)
    refuse(relation, "unlogged table", "A crash empties it; use ALTER TABLE ... SET LOGGED first.");
  if (IsCatalogRelation(relation) || form->relnamespace == PG_CATALOG_NAMESPACE ||
      RelationGetRelid(relation) < FirstNormalObjectId)
    refuse(relation, "system catalog", kOrdinary);
  if (std::strcmp(get_namespace_name(form->relnamespace), "writecache") == 0)
    refuse(relation, "table of the extension", kOrdinary);
}

// Of the table and of what an INSERT into it can reach.
void check_triggers(Relation relation, bool allowed) {
  if (allowed) return;
  ListCell* cell;
  foreach (cell, find_all_inheritors(RelationGetRelid(relation), AccessShareLock, nullptr)) {
    Relation member = relation_open(lfirst_oid(cell), NoLock);
    const bool reached =
        member->rd_rel->relispartition || RelationGetRelid(member) == RelationGetRelid(relation);
    const Trigger* trigger = reached ? first_user_insert_trigger(member) : nullptr;
    if (trigger != nullptr)
      ereport(
          ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
          errmsg("cannot attach table \"%s\" as write_back: \"%s\" has triggers on INSERT",
                 RelationGetRelationName(relation), RelationGetRelationName(member)),
          errdetail("Trigger \"%s\" would run when rows are flushed, as the owner of the table.",
                    trigger->tgname),
          errhint("Pass allow_triggers => true if that is what you want."));
    relation_close(member, NoLock);
  }
}

// What plain INSERT would have checked at once and the flush will find out later.
void notice_late_constraints(Relation relation) {
  ScanKeyData key;
  Relation constraints = table_open(ConstraintRelationId, AccessShareLock);
  ScanKeyInit(&key, Anum_pg_constraint_conrelid, BTEqualStrategyNumber, F_OIDEQ,
              ObjectIdGetDatum(RelationGetRelid(relation)));
  SysScanDesc scan =
      systable_beginscan(constraints, ConstraintRelidTypidNameIndexId, true, nullptr, 1, &key);
  List* constraint_indexes = NIL;
  while (HeapTuple tuple = systable_getnext(scan)) {
    const auto* form = reinterpret_cast<Form_pg_constraint>(GETSTRUCT(tuple));
    const char* kind = form->contype == CONSTRAINT_PRIMARY     ? "primary key"
                       : form->contype == CONSTRAINT_UNIQUE    ? "unique"
                       : form->contype == CONSTRAINT_FOREIGN   ? "foreign key"
                       : form->contype == CONSTRAINT_EXCLUSION ? "exclusion"
                                                               : nullptr;
    if (kind == nullptr) continue;
    if (form->contype != CONSTRAINT_FOREIGN)
      constraint_indexes = lappend_oid(constraint_indexes, form->conindid);
    ereport(NOTICE, errmsg("%s constraint \"%s\" will be checked when rows are flushed", kind,
                           NameStr(form->conname)));
  }
  systable_endscan(scan);
  table_close(constraints, AccessShareLock);
  ListCell* cell;
  foreach (cell, RelationGetIndexList(relation)) {
    const Oid index = lfirst_oid(cell);
    if (list_member_oid(constraint_indexes, index)) continue;
    Relation opened = index_open(index, AccessShareLock);
    if (opened->rd_index->indisunique)
      ereport(NOTICE, errmsg("unique index \"%s\" will be checked when rows are flushed",
                             RelationGetRelationName(opened)));
    index_close(opened, AccessShareLock);
  }
}

[[noreturn]] void bad_option(const char* name, const char* detail) {
  ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
          errmsg("invalid value for option \"%s\"", name), errdetail("%s", detail));
  pg_unreachable();
}

constexpr const char* kOptionNames[] = {"flush_interval", "flush_rows",   "flush_bytes",
                                        "when_full",      "read_pending", "on_conflict",
                                        "allow_triggers", "key",          "max_staleness"};

void check_option_mode(int column, Mode mode) {
  const bool of_write_back = column <= kAllowTriggers;
  if (of_write_back != (mode == Mode::kWriteBack))
    ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
            errmsg("option \"%s\" is not for this mode", kOptionNames[column - kFlushInterval]),
            of_write_back ? errdetail("It is for mode write_back.")
                          : errdetail("It is for the modes that cache rows."));
}

void set_default(int column, AttachedRow* row) {
  row->nulls[column - 1] = false;
  switch (column) {
    case kWhenFull:
      row->values[column - 1] = CStringGetTextDatum("wait");
      break;
    case kReadPending:
      row->values[column - 1] = BoolGetDatum(true);
      break;
    case kOnConflict:
      row->values[column - 1] = CStringGetTextDatum("reject");
      break;
    case kAllowTriggers:
      row->values[column - 1] = BoolGetDatum(false);
      break;
    default:  // a setting, or the primary key
      row->nulls[column - 1] = true;
  }
}

// Takes the options that an array names back to their defaults.
void reset_options(FunctionCallInfo fcinfo, int argument, Mode mode, AttachedRow* row) {
  if (PG_ARGISNULL(argument)) return;
  Datum* names;
  bool* nulls;
  int count;
  deconstruct_array(PG_GETARG_ARRAYTYPE_P(argument), TEXTOID, -1, false, TYPALIGN_INT, &names,
                    &nulls, &count);
  for (int i = 0; i < count; ++i) {
    const char* name = nulls[i] ? "" : TextDatumGetCString(names[i]);
    int column = kFlushInterval;
    while (column <= kMaxStaleness && std::strcmp(kOptionNames[column - kFlushInterval], name) != 0)
      ++column;
    if (column > kMaxStaleness)
      ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
              errmsg("unrecognized option \"%s\" in \"%s\"", name, "reset"));
    check_option_mode(column, mode);
    set_default(column, row);
  }
}

// Takes the options that were given, arguments `first` and on, in the order of their columns.
void take_options(FunctionCallInfo fcinfo, int first, Mode mode, AttachedRow* row) {
  for (int column = kFlushInterval; column <= kMaxStaleness; ++column) {
    const int argument = first + column - kFlushInterval;
    if (PG_ARGISNULL(argument)) continue;
    check_option_mode(column, mode);
    row->values[column - 1] = PG_GETARG_DATUM(argument);
    row->nulls[column - 1] = false;
  }
  if (!row->nulls[kFlushInterval - 1]) {
    const std::int64_t us =
        attachments::interval_us(DatumGetIntervalP(row->values[kFlushInterval - 1]));
    if (us < 1000 || us > USECS_PER_DAY)
      bad_option("flush_interval", "It must lie between 1 ms and 1 day.");
  }
  if (!row->nulls[kFlushRows - 1] && DatumGetInt64(row->values[kFlushRows - 1]) <= 0)
    bad_option("flush_rows", "It must be greater than zero.");
  if (!row->nulls[kFlushBytes - 1] && DatumGetInt64(row->values[kFlushBytes - 1]) <= 0)
    bad_option("flush_bytes", "It must be greater than zero.");
  const char* when_full = TextDatumGetCString(row->values[kWhenFull - 1]);
  if (std::strcmp(when_full, "wait") != 0 && std::strcmp(when_full, "write_through") != 0 &&
      std::strcmp(when_full, "error") != 0)
    bad_option("when_full", "It must be \"wait\", \"write_through\" or \"error\".");
  const char* on_conflict = TextDatumGetCString(row->values[kOnConflict - 1]);
  if (std::strcmp(on_conflict, "reject") != 0 && std::strcmp(on_conflict, "ignore") != 0)
    bad_option("on_conflict", "It must be \"reject\" or \"ignore\".");
  if (!row->nulls[kMaxStaleness - 1] &&
      attachments::interval_us(DatumGetIntervalP(row->values[kMaxStaleness - 1])) < 0)
    bad_option("max_staleness", "It must not be negative.");
}

void check_cached(Relation relation, Mode mode, const AttachedRow& row) {
  row_cache::check_attachable(relation, mode, row.nulls[kKey - 1] ? Datum{0} : row.values[kKey - 1],
                              !row.nulls[kMaxStaleness - 1]);
}

AttachedRow default_row(Oid relation, Oid mode) {
  AttachedRow row{};
  for (bool& is_null : row.nulls) is_null = false;
  row.values[kRelation - 1] = ObjectIdGetDatum(relation);
  row.values[kAttachment - 1] = Int32GetDatum(
      static_cast<std::int32_t>(nextval_internal(relation_named("attachment_seq"), false)));
  row.values[kMode - 1] = ObjectIdGetDatum(mode);
  for (int column = kFlushInterval; column <= kMaxStaleness; ++column) set_default(column, &row);
  return row;
}

// Every session makes its plans for the table anew; in force for this one at once.
void announce(Relation relation) {
  CacheInvalidateRelcache(relation);
  CommandCounterIncrement();
}

Oid relation_argument(FunctionCallInfo fcinfo) {
  if (PG_ARGISNULL(0))
    ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("relation must not be null"));
  return PG_GETARG_OID(0);
}

// The row of an attached table, or an ERROR.
void read_or_raise(Relation relation, AttachedRow* row) {
  if (read_attached(RelationGetRelid(relation), row)) return;
  ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT),
          errmsg("table \"%s\" is not attached", RelationGetRelationName(relation)));
}

void refuse_attached(Relation relation) {
  AttachedRow row;
  if (!read_attached(RelationGetRelid(relation), &row)) return;
  ereport(
      ERROR, errcode(ERRCODE_DUPLICATE_OBJECT),
      errmsg("table \"%s\" is attached already", RelationGetRelationName(relation)),
      errhint(
          "Change its options with writecache.alter(), or its mode after writecache.detach()."));
}

// Writers may go on, and queries that are planned already.
constexpr LOCKMODE kCachedLock = ShareUpdateExclusiveLock;

void attach_cached(FunctionCallInfo fcinfo, Oid relid, Oid label, Mode mode) {
  Relation relation = catalog::open_owned(relid, kCachedLock);
  refuse_attached(relation);
  AttachedRow row = default_row(relid, label);
  take_options(fcinfo, 2, mode, &row);
  check_cached(relation, mode, row);
  insert_attached(row);
  announce(relation);
  relation_close(relation, NoLock);
}

void attach_write_back(FunctionCallInfo fcinfo, Oid relid, Oid label) {
  Relation relation = catalog::open_owned(relid, kLock);
  CheckTableNotInUse(relation, "writecache.attach()");
  check_kind(relation);
  refuse_attached(relation);
  AttachedRow row = default_row(relid, label);
  take_options(fcinfo, 2, Mode::kWriteBack, &row);
  check_triggers(relation, DatumGetBool(row.values[kAllowTriggers - 1]));
  ForceSyncCommit();  // rows that are acknowledged afterwards survive a crash; they need it to have
                      // happened
  insert_attached(row);
  drain::drop_queue_at_abort(DatumGetInt32(row.values[kAttachment - 1]));
  announce(relation);
  PGWC_INJECT("attach");
  notice_late_constraints(relation);
  relation_close(relation, NoLock);
}

Mode mode_of(const AttachedRow& row) {
  return attachments::mode_of(DatumGetObjectId(row.values[kMode - 1]));
}

// The mode of an attached relation, before it is known how to lock it.
Mode mode_of(Oid relation) {
  const Attachment* attachment = attachments::find(relation);
  return attachment == nullptr ? Mode::kWriteBack : attachment->mode;
}

// Between the look and the lock it may have been attached anew.
void check_mode(Relation relation, Mode expected, const AttachedRow& row) {
  if ((mode_of(row) == Mode::kWriteBack) == (expected == Mode::kWriteBack)) return;
  ereport(ERROR, errcode(ERRCODE_OBJECT_IN_USE),
          errmsg("table \"%s\" was attached to another mode meanwhile",
                 RelationGetRelationName(relation)));
}

}  // namespace
}  // namespace pgwc

using namespace pgwc;

PGWC_FUNCTION(pgwc_attach) {
  require_buffer();
  PreventCommandIfReadOnly("writecache.attach()");
  const Oid relid = relation_argument(fcinfo);
  if (PG_ARGISNULL(1))
    ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("mode must not be null"));
  const Oid label = PG_GETARG_OID(1);
  const pgwc::Mode mode = attachments::mode_of(label);
  if (mode == pgwc::Mode::kWriteBack)
    attach_write_back(fcinfo, relid, label);
  else
    attach_cached(fcinfo, relid, label, mode);
  PG_RETURN_VOID();
}

PGWC_FUNCTION(pgwc_alter) {
  require_buffer();
  PreventCommandIfReadOnly("writecache.alter()");
  const Oid relid = relation_argument(fcinfo);
  const pgwc::Mode mode = mode_of(relid);
  Relation relation =
      catalog::open_owned(relid, mode == pgwc::Mode::kWriteBack ? kLock : kCachedLock);
  AttachedRow row;
  read_or_raise(relation, &row);
  check_mode(relation, mode, row);
  reset_options(fcinfo, 1 + kMaxStaleness - kFlushInterval + 1, mode, &row);
  take_options(fcinfo, 1, mode, &row);
  if (mode == pgwc::Mode::kWriteBack)
    check_triggers(relation, DatumGetBool(row.values[kAllowTriggers - 1]));
  else
    check_cached(relation, mode, row);
  update_attached(relid, row);
  announce(relation);
  if (mode == pgwc::Mode::kWriteBack)
    queue_status::resume(DatumGetInt32(row.values[kAttachment - 1]));
  relation_close(relation, NoLock);
  PG_RETURN_VOID();
}

PGWC_FUNCTION(pgwc_detach) {
  require_buffer();
  PreventCommandIfReadOnly("writecache.detach()");
  const Oid relid = relation_argument(fcinfo);
  const pgwc::Mode mode = mode_of(relid);
  // Write-back: against readers, too. A snapshot that sees the buffered rows and not yet the stored
  // ones would see neither in a table that is attached no more.
  Relation relation = catalog::open_owned(
      relid, mode == pgwc::Mode::kWriteBack ? AccessExclusiveLock : kCachedLock);
  AttachedRow row;
  read_or_raise(relation, &row);
  check_mode(relation, mode, row);
  const std::int32_t attachment = DatumGetInt32(row.values[kAttachment - 1]);
  if (mode == pgwc::Mode::kWriteBack) {
    // A statement under way would go on staging rows.
    CheckTableNotInUse(relation, "writecache.detach()");
    (void)drain::drain_table(relid);
    PGWC_INJECT("detach-drained");
    delete_watermark(attachment);
    drain::drop_queue_at_commit(attachment, relid);
  } else {
    row_cache::drop(relid);
  }
  delete_attached(relid);
  announce(relation);
  relation_close(relation, NoLock);
  PG_RETURN_VOID();
}

namespace {

// Whoever edits writecache.attached by hand must not cut a queue off from its table.
void check_not_pending(Oid relation, std::int32_t attachment) {
  if (!buffer_ready() || !SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relation))) return;
  LockRelationOid(relation, kLock);
  (void)staging::spill(relation);
  const QueueNo queue =
      buffer().find_queue(make_queue_id(MyDatabaseId, static_cast<std::uint32_t>(attachment)));
  if (queue == kNoQueueNo || buffer().view(queue).pending_rows == 0) return;
  ereport(ERROR, errcode(ERRCODE_OBJECT_IN_USE),
          errmsg("table \"%s\" has buffered rows", get_rel_name(relation)),
          errhint("Call writecache.detach() or writecache.flush() first."));
}

}  // namespace

PGWC_FUNCTION(pgwc_attached_changed) {
  if (!CALLED_AS_TRIGGER(fcinfo))
    ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
            errmsg("must be called as a trigger"));
  const auto* data = reinterpret_cast<const TriggerData*>(fcinfo->context);
  if (RelationGetRelid(data->tg_relation) != relation_named("attached"))
    ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
            errmsg("must be a trigger of writecache.attached"));
  TupleDesc desc = RelationGetDescr(data->tg_relation);
  CacheInvalidateRelcache(data->tg_relation);
  if (TRIGGER_FIRED_BY_TRUNCATE(data->tg_event)) {
    ListCell* cell;
    AttachedRow row;
    foreach (cell, all_attached())
      if (read_attached(lfirst_oid(cell), &row))
        check_not_pending(lfirst_oid(cell), DatumGetInt32(row.values[kAttachment - 1]));
    return PointerGetDatum(nullptr);
  }
  for (HeapTuple tuple : {data->tg_trigtuple, data->tg_newtuple}) {
    if (tuple == nullptr) continue;
    bool is_null;
    const Oid relation = DatumGetObjectId(heap_getattr(tuple, kRelation, desc, &is_null));
    const Datum number = heap_getattr(tuple, kAttachment, desc, &is_null);
    if (tuple == data->tg_trigtuple && !TRIGGER_FIRED_BY_INSERT(data->tg_event) &&
        !(data->tg_newtuple != nullptr &&
          heap_getattr(data->tg_newtuple, kRelation, desc, &is_null) ==
              ObjectIdGetDatum(relation) &&
          heap_getattr(data->tg_newtuple, kAttachment, desc, &is_null) == number))
      check_not_pending(relation, DatumGetInt32(number));
    // A row may name a table that is gone.
    if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relation)))
      CacheInvalidateRelcacheByRelid(relation);
  }
  return PointerGetDatum(nullptr);
}
