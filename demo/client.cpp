// A client of the demo: a gateway that sends the readings of its 1,000 stations, hour after hour.
//
//     demo-client NUMBER single|multi|copy TABLE READINGS.csv LEDGER [ROWS_PER_SECOND]
//
// It sends numbered batches, each one transaction, and keeps a ledger outside the server: the last
// batch whose COMMIT was answered. Row n of a gateway is hour n / 1000 of its station n % 1000, so
// (station, at) names each row and the ledger says which ones must be in the table, once.
//
// When the connection is lost, the batches sent and not answered are in doubt: the server may have
// committed them or not. On the next connection the client has everything acknowledged stored,
// looks for each of them, and sends again those that are not there (settle, below). This is what
// any application must do, with or without pg_writecache.
//
// SIGTERM: sends nothing more, waits for the answers, ends with status 0.
#include <fcntl.h>
#include <libpq-fe.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
constexpr long kStations = 1000;  // of a gateway
constexpr const char* kColumnList = " (station, at, pressure, temperature, wind)";
constexpr int kColumns = 5;

// How a client writes. A batch is one statement, which is one transaction.
struct Kind {
  std::string_view name;
  int rows;       // of a batch; divides kStations
  int in_flight;  // batches sent ahead of their answers; few enough for the socket's buffer
};
constexpr Kind kKinds[] = {{"single", 1, 64}, {"multi", 50, 4}, {"copy", 1000, 1}};

volatile std::sig_atomic_t stopping = 0;

// The connection is gone: what was not answered is in doubt.
struct Lost : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Reading {
  std::string pressure, temperature, wind;
};

std::vector<Reading> load_readings(const char* path) {
  std::ifstream file(path);
  std::vector<Reading> readings;
  std::string date;
  Reading r;
  std::getline(file, date);  // the header
  while (std::getline(file, date, ',') && std::getline(file, r.pressure, ',') &&
         std::getline(file, r.temperature, ',') && std::getline(file, r.wind))
    readings.push_back(r);
  if (readings.empty()) throw std::runtime_error(std::string("no readings in ") + path);
  return readings;
}

// One line in a file, rewritten in place: it outlives the server and this process.
class Ledger {
 public:
  Ledger(const char* path, int rows_per_batch)
      : file_(open(path, O_WRONLY | O_CREAT, 0644)), rows_(rows_per_batch) {
    if (file_ < 0) throw std::runtime_error(std::string("cannot write ") + path);
    acknowledge(0);
  }
  void acknowledge(long batch) {
    char line[80];
    const int size =
        std::snprintf(line, sizeof line, "%010ld batches of %d rows acknowledged\n", batch, rows_);
    if (pwrite(file_, line, static_cast<std::size_t>(size), 0) != size)
      throw std::runtime_error("cannot write the ledger");
  }

 private:
  int file_, rows_;
};

class Gateway {
 public:
  Gateway(int number, const Kind& kind, std::string table, const char* readings, const char* ledger)
      : number_(number),
        kind_(kind),
        table_(std::move(table)),
        readings_(load_readings(readings)),
        ledger_(ledger, kind_.rows) {}
  ~Gateway() { PQfinish(connection_); }
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  void connect() {
    PQfinish(connection_);
    connection_ = PQconnectdb(("application_name=gateway-" + std::to_string(number_)).c_str());
    if (PQstatus(connection_) != CONNECTION_OK) fail();
    std::string insert = "INSERT INTO " + table_ + kColumnList;
    for (int row = 0; row < kind_.rows && !copies(); ++row) {
      insert += row == 0 ? " VALUES (" : ", (";
      for (int i = 1; i <= kColumns; ++i)
        insert += (i > 1 ? ", $" : "$") + std::to_string(row * kColumns + i);
      insert += ")";
    }
    if (!copies()) expect(PQprepare(connection_, "insert", insert.c_str(), 0, nullptr));
  }

  // Finds out what became of the batches in doubt, and sends again those that are not there.
  void settle() {
    const long doubt = sent_ - acknowledged_;
    long resent = 0;
    if (doubt > 0) ask("SELECT writecache.flush('" + table_ + "')");
    for (; acknowledged_ < sent_; acknowledge()) {
      const Batch next = batch(acknowledged_ + 1);
      if (is_stored(next)) continue;
      if (!copies()) PQenterPipelineMode(connection_);
      send(next);
      receive();
      if (!copies()) PQexitPipelineMode(connection_);
      ++resent;
    }
    std::printf("in doubt %ld stored %ld resent %ld\n", doubt, doubt - resent, resent);
  }

  // Sends batches, several ahead of their answers, until told to stop and every answer is in.
  void feed(double rows_per_second) {
    if (!copies()) PQenterPipelineMode(connection_);
    const auto start = Clock::now();
    const auto due = [&, first = sent_] {
      const double seconds = static_cast<double>((sent_ - first) * kind_.rows) / rows_per_second;
      return start + std::chrono::duration<double>(rows_per_second > 0 ? seconds : 0);
    };
    while (!stopping || acknowledged_ < sent_) {
      while (!stopping && sent_ - acknowledged_ < kind_.in_flight && Clock::now() >= due())
        send(batch(++sent_));
      if (acknowledged_ < sent_) {
        receive();
        acknowledge();
      } else {
        std::this_thread::sleep_until(due());
      }
    }
  }

 private:
  bool copies() const { return kind_.name == "copy"; }
  void acknowledge() { ledger_.acknowledge(++acknowledged_); }

  // What a batch holds: one reading of each of some neighbouring stations, all of one hour.
  struct Batch {
    long hour;
    long first, last;  // stations
    std::string at;
  };
  Batch batch(long number) const {
    const long row = (number - 1) * kind_.rows;
    const long hour = row / kStations;
    const long first = number_ * kStations + row % kStations;
    const std::time_t at = 1262307600 + hour * 3600;  // 2010-01-01 01:00 UTC
    char text[40];
    std::tm utc;
    std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S+00", gmtime_r(&at, &utc));
    return {hour, first, first + kind_.rows - 1, text};
  }

  // The year of readings at one place serves every station, each a few hours apart.
  const Reading& reading(const Batch& batch, long station) const {
    return readings_[static_cast<std::size_t>(batch.hour + station * 7) % readings_.size()];
  }

  void send(const Batch& batch) { copies() ? send_copy(batch) : send_insert(batch); }

  void send_insert(const Batch& batch) {
    std::vector<std::string> stations(static_cast<std::size_t>(kind_.rows));
    std::vector<const char*> values;
    long station = batch.first;
    for (std::string& text : stations) {
      text = std::to_string(station);
      const Reading& r = reading(batch, station++);
      values.insert(values.end(), {text.c_str(), batch.at.c_str(), r.pressure.c_str(),
                                   r.temperature.c_str(), r.wind.c_str()});
    }
    if (!PQsendQueryPrepared(connection_, "insert", static_cast<int>(values.size()), values.data(),
                             nullptr, nullptr, 0) ||
        !PQpipelineSync(connection_))  // each Sync ends a transaction
      fail();
  }

  void send_copy(const Batch& batch) {
    std::string data;
    for (long station = batch.first; station <= batch.last; ++station) {
      const Reading& r = reading(batch, station);
      data += std::to_string(station) + '\t' + batch.at + '\t' + r.pressure + '\t' + r.temperature +
              '\t' + r.wind + '\n';
    }
    const std::string copy = "COPY " + table_ + kColumnList + " FROM STDIN";
    expect(PQexec(connection_, copy.c_str()));
    if (PQputCopyData(connection_, data.data(), static_cast<int>(data.size())) != 1 ||
        PQputCopyEnd(connection_, nullptr) != 1)
      fail();
  }

  // Waits for the answer to the oldest batch that has none; throws when there is none to come.
  void receive() {
    expect(PQgetResult(connection_));
    while (PGresult* more = PQgetResult(connection_)) PQclear(more);
    if (!copies()) expect(PQgetResult(connection_));  // the Sync's: committed
  }

  bool is_stored(const Batch& batch) {
    const std::string count = ask("SELECT count(*) FROM " + table_ + " WHERE at = '" + batch.at +
                                  "' AND station BETWEEN " + std::to_string(batch.first) + " AND " +
                                  std::to_string(batch.last));
    if (count != "0" && count != std::to_string(kind_.rows))
      throw std::runtime_error(count + " rows of a batch are in the table: a transaction was torn");
    return count != "0";
  }

  std::string ask(const std::string& query) {
    PGresult* result = PQexec(connection_, query.c_str());
    std::string value = PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "";
    expect(result);
    return value;
  }

  void expect(PGresult* result) {
    const ExecStatusType status = PQresultStatus(result);
    const char* code = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const std::string state = code ? code : "";
    const std::string message = result ? PQresultErrorMessage(result) : "no answer";
    PQclear(result);
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_COPY_IN ||
        status == PGRES_PIPELINE_SYNC)
      return;
    // 57P..: the server is going down or coming up
    if (PQstatus(connection_) == CONNECTION_OK && !state.starts_with("57P") && !state.empty())
      throw std::runtime_error(message);
    throw Lost(message);
  }
  [[noreturn]] void fail() { throw Lost(PQerrorMessage(connection_)); }

  const int number_;
  const Kind& kind_;
  const std::string table_;
  const std::vector<Reading> readings_;
  Ledger ledger_;
  PGconn* connection_ = nullptr;
  long sent_ = 0, acknowledged_ = 0;  // batches, numbered from 1
};

}  // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  std::signal(SIGTERM, [](int) { stopping = 1; });
  std::signal(SIGPIPE, SIG_IGN);
  const Kind* kind = nullptr;
  for (const Kind& k : kKinds)
    if (argc > 2 && k.name == argv[2]) kind = &k;
  if (argc < 6 || kind == nullptr) {
    std::fputs("usage: demo-client NUMBER single|multi|copy TABLE READINGS LEDGER [RATE]\n",
               stderr);
    return 2;
  }
  try {
    Gateway gateway(std::atoi(argv[1]), *kind, argv[3], argv[4], argv[5]);
    for (;;) {
      try {
        gateway.connect();
        gateway.settle();
        gateway.feed(argc > 6 ? std::atof(argv[6]) : 0);
        return 0;
      } catch (const Lost&) {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
      }
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "client %s: %s\n", argv[1], error.what());
    return 1;
  }
}
