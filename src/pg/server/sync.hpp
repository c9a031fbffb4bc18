// Protection against power loss: the file's pages, and what it notes of them, forced to disk.
#pragma once

namespace pgwc {

// Notes in the file how far the database has come, so that a later start sees whether it has gone
// on without us.
void note_checkpoint();
// Forces the file to disk. Returns 0, or errno after a WARNING.
int sync_buffer();

}  // namespace pgwc
