"""The little of libpq that the crash harness and the oracle need: connections whose every outcome is known for what it is.

A statement has three outcomes: it worked, the server refused it (Refused: the transaction is rolled back, that is
certain), or the connection went away (Lost: nobody knows). The distinction is what the ledgers are made of.
"""
import ctypes as c

_lib = c.CDLL("libpq.so.5")


def _declare(name, result, *arguments):
    function = getattr(_lib, name)
    function.restype, function.argtypes = result, arguments
    return function


_p, _s, _i = c.c_void_p, c.c_char_p, c.c_int
_connect = _declare("PQconnectdb", _p, _s)
_finish = _declare("PQfinish", None, _p)
_status = _declare("PQstatus", _i, _p)
_error_message = _declare("PQerrorMessage", _s, _p)
_backend_pid = _declare("PQbackendPID", _i, _p)
_exec = _declare("PQexec", _p, _p, _s)
_exec_params = _declare("PQexecParams", _p, _p, _s, _i, _p, c.POINTER(_s), _p, _p, _i)
_prepare = _declare("PQprepare", _p, _p, _s, _s, _i, _p)
_exec_prepared = _declare("PQexecPrepared", _p, _p, _s, _i, c.POINTER(_s), _p, _p, _i)
_result_status = _declare("PQresultStatus", _i, _p)
_result_field = _declare("PQresultErrorField", _s, _p, _i)
_result_message = _declare("PQresultErrorMessage", _s, _p)
_clear = _declare("PQclear", None, _p)
_rows = _declare("PQntuples", _i, _p)
_columns = _declare("PQnfields", _i, _p)
_value = _declare("PQgetvalue", _s, _p, _i, _i)
_is_null = _declare("PQgetisnull", _i, _p, _i, _i)
_put = _declare("PQputCopyData", _i, _p, _s, _i)
_put_end = _declare("PQputCopyEnd", _i, _p, _s)
_get_copy = _declare("PQgetCopyData", _i, _p, c.POINTER(_p), _i)
_free = _declare("PQfreemem", None, _p)
_get_result = _declare("PQgetResult", _p, _p)
_NOTICES = c.CFUNCTYPE(None, _p, _s)
_set_notices = _declare("PQsetNoticeProcessor", _p, _p, _NOTICES, _p)
_ignore_notices = _NOTICES(lambda _argument, _message: None)

_enter_pipeline = _declare("PQenterPipelineMode", _i, _p)
_exit_pipeline = _declare("PQexitPipelineMode", _i, _p)
_sync = _declare("PQpipelineSync", _i, _p)
_send = _declare("PQsendQueryParams", _i, _p, _s, _i, _p, _p, _p, _p, _i)

_send_query = _declare("PQsendQuery", _i, _p, _s)
_socket = _declare("PQsocket", _i, _p)
_consume = _declare("PQconsumeInput", _i, _p)
_is_busy = _declare("PQisBusy", _i, _p)

_PIPELINE_SYNC = 10
_COMMAND_OK, _TUPLES_OK, _COPY_OUT, _COPY_IN, _FATAL_ERROR = 1, 2, 3, 4, 7


class Lost(Exception):
    """The connection is gone; what was under way may have happened or not."""


class Refused(Exception):
    """The server answered with an error; its transaction is rolled back."""

    def __init__(self, state, message):
        super().__init__(f"{state} {message}")
        self.state = state


class Connection:
    def __init__(self, conninfo):
        self._c = _connect(conninfo.encode())
        if _status(self._c) != 0:
            message = _error_message(self._c).decode(errors="replace").strip()
            self.close()
            raise Lost(message)
        _set_notices(self._c, _ignore_notices, None)
        self.pid = _backend_pid(self._c)

    def close(self):
        if self._c:
            _finish(self._c)
            self._c = None

    def _check(self, result):
        """Returns a good result, else clears it and raises what it means."""
        state = _result_status(result) if result else _FATAL_ERROR
        if state in (_COMMAND_OK, _TUPLES_OK, _COPY_IN):
            return result
        if result:
            code = (_result_field(result, ord("C")) or b"").decode()
            severity = (_result_field(result, ord("V")) or b"").decode()
            message = _result_message(result).decode(errors="replace").strip()
            _clear(result)
        else:
            code, severity, message = "", "", _error_message(self._c).decode(errors="replace").strip()
        if _status(self._c) != 0 or severity in ("FATAL", "PANIC") or not code:
            raise Lost(f"{code} {message}")
        raise Refused(code, message)

    def _fetch(self, result):
        result = self._check(result)
        columns = range(_columns(result))
        rows = [tuple(None if _is_null(result, r, k) else _value(result, r, k).decode() for k in columns)
                for r in range(_rows(result))]
        _clear(result)
        return rows

    def run(self, sql):
        """Runs SQL text and returns the last statement's rows, every value as text."""
        return self._fetch(_exec(self._c, sql.encode()))

    def run_with(self, sql, values):
        """Runs one statement with parameters, by the extended protocol."""
        return self._fetch(_exec_params(self._c, sql.encode(), len(values), None, _array(values), None, None, 0))

    def prepare(self, name, sql):
        self._fetch(_prepare(self._c, name.encode(), sql.encode(), 0, None))

    def run_prepared(self, name, values):
        return self._fetch(_exec_prepared(self._c, name.encode(), len(values), _array(values), None, None, 0))

    def copy(self, sql, lines, give_up=False):
        """COPY FROM STDIN; give_up ends it with an error from our side."""
        _clear(self._check(_exec(self._c, sql.encode())))
        data = "".join(line + "\n" for line in lines).encode()
        if _put(self._c, data, len(data)) != 1 or _put_end(self._c, b"gave up" if give_up else None) != 1:
            raise Lost(_error_message(self._c).decode(errors="replace").strip())
        last = None
        while result := _get_result(self._c):
            if last:
                _clear(last)
            last = result
            if _status(self._c) != 0:
                break
        self._fetch(last)

    # --- one message at a time, without waiting for the answer

    def socket(self):
        return _socket(self._c)

    def send(self, sql, copy=()):
        """Sends SQL text; `copy` are the lines for a COPY FROM STDIN in it. The answer comes from poll()."""
        self._sent, self._problem, self._copy = [], None, copy
        if _send_query(self._c, sql.encode()) != 1:
            raise Lost(_error_message(self._c).decode(errors="replace").strip())

    def poll(self):
        """Returns the rows of each statement sent, or None if the answer is not complete yet. Raises as run() does."""
        while True:
            if _consume(self._c) != 1:
                raise Lost(_error_message(self._c).decode(errors="replace").strip())
            if _is_busy(self._c):
                return None
            result = _get_result(self._c)
            if not result:
                if self._problem:
                    raise self._problem
                return self._sent
            if _result_status(result) == _COPY_IN:
                _clear(result)
                data = "".join(line + "\n" for line in self._copy).encode()
                if _put(self._c, data, len(data)) != 1 or _put_end(self._c, None) != 1:
                    raise Lost(_error_message(self._c).decode(errors="replace").strip())
                continue
            if _result_status(result) == _COPY_OUT:
                _clear(result)
                self._sent.append(self._copied_out())
                continue
            try:
                self._sent.append(self._fetch(result))
            except Refused as refused:
                self._problem = refused

    def _copied_out(self):
        """The lines of a COPY TO STDOUT, as rows; an error in it is the next result."""
        rows, line = [], _p()
        while (size := _get_copy(self._c, c.byref(line), 0)) > 0:
            rows.append((c.string_at(line, size).decode().rstrip("\n"),))
            _free(line)
        return rows

    def pipeline(self, statements, answered):
        """Sends all statements, each its own transaction, then calls answered(index, None or Refused) for each answer."""
        if _enter_pipeline(self._c) != 1:
            raise Lost("no pipeline")
        for statement in statements:
            if _send(self._c, statement.encode(), 0, None, None, None, None, 0) != 1 or _sync(self._c) != 1:
                raise Lost(_error_message(self._c).decode(errors="replace").strip())
        for index in range(len(statements)):
            refused = None
            try:
                self._fetch(_get_result(self._c))
            except Refused as problem:
                refused = problem
            while True:  # what ends the statement, and then the synchronisation point, which is the commit
                result = _get_result(self._c)
                if result:
                    state = _result_status(result)
                    _clear(result)
                    if state == _PIPELINE_SYNC:
                        break
                    refused = refused or Refused("?????", "failed at commit")
                elif _status(self._c) != 0:
                    raise Lost("in a pipeline")
            answered(index, refused)
        if _exit_pipeline(self._c) != 1:
            raise Lost("still in a pipeline")


def _array(values):
    return (_s * len(values))(*[None if v is None else str(v).encode() for v in values])
