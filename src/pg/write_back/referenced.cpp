#include "pg/write_back/referenced.hpp"

#include "pg/server/shmem.hpp"
#include "pg/tables/attachment.hpp"

namespace pgwc::referenced {

void find_pending(Relation relation, Queues* queues) {
  const ListCell* cell;
  foreach (cell, RelationGetFKeyList(relation)) {
    const Oid table = lfirst_node(ForeignKeyCacheInfo, cell)->confrelid;
    if (table == RelationGetRelid(relation) || queues->count == Queues::kMost) continue;
    Attachment* attachment = attachments::find_write_back(table);
    if (attachment != nullptr && attachments::open_queue(attachment) &&
        buffer().request(attachment->queue, buffer().last_seq()))
      queues->at[queues->count++] = attachment->queue;
  }
}

}  // namespace pgwc::referenced
