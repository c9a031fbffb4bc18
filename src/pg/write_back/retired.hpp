// Stored rows that stay in the buffer as long as a snapshot may have to read them there.
#pragma once

#include "pg/boundary/pg.hpp"

namespace pgwc::retired {

// The process id of the session with the oldest of the snapshots that keep stored rows of the queue
// in the buffer; 0 if there is none.
int held_back_by(QueueNo queue);

// Frees blocks whose stored rows no snapshot needs from the buffer any more. True if some wait for
// snapshots.
bool release(QueueNo queue);

}  // namespace pgwc::retired
