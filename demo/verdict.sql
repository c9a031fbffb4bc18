-- Compares the clients' ledgers with the table. Takes the variable ledger, a list of (client, acknowledged rows), and the
-- file of readings on standard input. Prints, in one line: rows acknowledged; rows in the table; acknowledged rows that
-- are missing; rows there once too often; rows there that nobody acknowledged; rows with other values than were sent.
-- Row n of a client is hour n / 1000 of its station n % 1000 (see client.cpp).
SET work_mem = '256MB';

CREATE TEMP TABLE source (hour int GENERATED ALWAYS AS IDENTITY (MINVALUE 0),
                          date text, pressure real, temperature real, wind real);
\copy source (date, pressure, temperature, wind) FROM pstdin (FORMAT csv, HEADER)

WITH ledger (client, rows) AS (VALUES :ledger),
  station AS (
    SELECT client * 1000 + n AS station, timestamptz '2010-01-01 01:00+00' AS first,
           (rows - n + 999) / 1000 AS hours  -- that were acknowledged
      FROM ledger, generate_series(0, 999) AS n),
  there AS (
    SELECT station, at, count(*) AS times FROM readings GROUP BY station, at),
  judged AS (
    SELECT times, coalesce(at >= first AND at < first + hours * interval '1 hour' AND at = date_trunc('hour', at), false)
             AS acknowledged
      FROM there LEFT JOIN station USING (station)),
  altered AS (
    SELECT count(*) AS rows
      FROM readings r LEFT JOIN source s
        ON s.hour = (extract(epoch FROM r.at)::bigint / 3600 - 350641 + r.station * 7) % 8759
     WHERE (r.pressure, r.temperature, r.wind) IS DISTINCT FROM (s.pressure, s.temperature, s.wind))
SELECT (SELECT sum(rows) FROM ledger), sum(times),
       (SELECT sum(rows) FROM ledger) - count(*) FILTER (WHERE acknowledged),
       sum(times - 1), count(*) FILTER (WHERE NOT acknowledged), (SELECT rows FROM altered)
  FROM judged;
