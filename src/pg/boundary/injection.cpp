#include "pg/boundary/injection.hpp"

#ifdef PGWC_INJECTION

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

#include "pg/boundary/pg.hpp"

extern "C" {
#include "utils/guc.h"
}

namespace pgwc::injection {

namespace {

char* point_setting = nullptr;
char* action_setting = nullptr;

}  // namespace

void define_settings() {
  DefineCustomStringVariable("writecache.injection_point", "Place where a test interferes.",
                             nullptr, &point_setting, "", PGC_SUSET, GUC_NOT_IN_SAMPLE, nullptr,
                             nullptr, nullptr);
  DefineCustomStringVariable("writecache.injection_action", "What happens there.",
                             "kill, kill_server, stop or error", &action_setting, "kill", PGC_SUSET,
                             GUC_NOT_IN_SAMPLE, nullptr, nullptr, nullptr);
}

void reach(const char* point) {
  if (point_setting == nullptr || std::strcmp(point_setting, point) != 0) return;
  if (std::strcmp(action_setting, "error") == 0)
    ereport(ERROR, errcode(ERRCODE_INTERNAL_ERROR), errmsg("injected error at \"%s\"", point));
  if (std::strcmp(action_setting, "kill_server") == 0) kill(PostmasterPid, SIGKILL);
  kill(getpid(), std::strcmp(action_setting, "stop") == 0 ? SIGSTOP : SIGKILL);
}

void copy_half(std::span<const std::byte> place, const void* from) {
  std::memcpy(const_cast<std::byte*>(place.data()), from, place.size() / 2);
  reach("half-copied");
}

bool fails_to_sync() {
  const char* path = getenv("PGWC_TEST_SYNC_FAILS");
  return path != nullptr && access(path, F_OK) == 0;
}

void keep_synced(const std::byte* data, std::size_t from, std::size_t bytes) {
  const char* path = getenv("PGWC_TEST_SYNCED");
  if (path == nullptr) return;
  char next[1024];
  snprintf(next, sizeof(next), "%s.next", path);
  // A part goes into the copy that is there; the whole takes its place at once.
  FILE* file = fopen(from > 0 ? path : next, from > 0 ? "r+" : "w");
  if (file == nullptr || fseek(file, static_cast<long>(from), SEEK_SET) != 0 ||
      fwrite(data + from, 1, bytes, file) != bytes || fclose(file) != 0 ||
      (from == 0 && rename(next, path) != 0))
    ereport(FATAL, errmsg("could not write \"%s\": %m", path));
}

ssize_t read_at(int fd, void* to, std::size_t bytes, off_t at) {
  constexpr off_t kPage = 4096;
  const char* list = getenv("PGWC_TEST_UNREADABLE");
  while (list != nullptr && *list != '\0') {
    char* end;
    const off_t page = strtoll(list, &end, 10) / kPage * kPage;
    if (end == list) break;
    if (page < at + static_cast<off_t>(bytes) && at < page + kPage) {
      errno = EIO;
      return -1;
    }
    list = *end == ',' ? end + 1 : end;
  }
  return pread(fd, to, bytes, at);
}

}  // namespace pgwc::injection

#endif
