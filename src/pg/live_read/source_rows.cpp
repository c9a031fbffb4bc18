#include "pg/live_read/source_rows.hpp"

#include "pg/boundary/compat.hpp"
#include "pg/server/settle.hpp"
#include "pg/server/shmem.hpp"
#include "pg/tables/attachment.hpp"
#include "pg/write_back/departures.hpp"
#include "pg/write_back/flush.hpp"

extern "C" {
#include "access/tupconvert.h"
#include "catalog/partition.h"
}

namespace pgwc::live_read {

namespace {

bool is_partition_of(Relation relation, Oid ancestor) {
  return relation->rd_rel->relispartition &&
         list_member_oid(get_partition_ancestors(RelationGetRelid(relation)), ancestor);
}

}  // namespace

bool open(SourceRows* rows, Relation relation, Oid source_id, Snapshot snapshot) {
  Attachment* attachment = attachments::find_write_back(source_id);
  if (attachment == nullptr) return false;
  ensure_settled();
  const std::uint64_t id = attachment->queue_id();
  const QueueNo queue = attachments::find_queue(attachment);
  if (queue == kNoQueueNo) departures::check(source_id, snapshot);
  if (queue == kNoQueueNo || is_empty(queue, id, source_id, snapshot)) return false;
  flush::drop_what_is_stored(queue, attachment->number);
  rows->relation = relation;
  if (source_id == RelationGetRelid(relation)) {
    rows->layout = RelationGetDescr(relation);
  } else {
    Relation source = table_open(source_id, AccessShareLock);
    rows->layout = CreateTupleDescCopy(RelationGetDescr(source));
    table_close(source, NoLock);
    rows->columns = compat::attribute_map(rows->layout, RelationGetDescr(relation));
    if (is_partition_of(relation, source_id)) {
      rows->partition = makeNode(ResultRelInfo);
      InitResultRelInfo(rows->partition, relation, 0, nullptr, 0);
    }
  }
  begin(&rows->reader, queue, id, source_id, attachments::layout_fingerprint(rows->layout),
        snapshot);
  rows->stored = MakeSingleTupleTableSlot(rows->layout, &TTSOpsMinimalTuple);
  return true;
}

bool show(SourceRows* rows, MinimalTuple tuple, TupleTableSlot* slot, EState* estate) {
  ExecStoreMinimalTuple(tuple, rows->stored, false);
  slot_getallattrs(rows->stored);
  if (rows->columns != nullptr) {
    execute_attr_map_slot(rows->columns, rows->stored, slot);
  } else {
    ExecClearTuple(slot);
    const auto columns = static_cast<std::size_t>(slot->tts_tupleDescriptor->natts);
    memcpy(slot->tts_values, rows->stored->tts_values, columns * sizeof(Datum));
    memcpy(slot->tts_isnull, rows->stored->tts_isnull, columns * sizeof(bool));
    ExecStoreVirtualTuple(slot);
  }
  slot->tts_tableOid = RelationGetRelid(rows->relation);
  return rows->partition == nullptr || ExecPartitionCheck(rows->partition, slot, estate, false);
}

void close(SourceRows* rows) {
  if (rows->stored != nullptr) ExecDropSingleTupleTableSlot(rows->stored);
  rows->stored = nullptr;
}

}  // namespace pgwc::live_read
