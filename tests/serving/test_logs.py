"""Logs: everything that a process says, one JSON object a line."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from serinus.serving.logs import REQUEST_ID, AccessLog, JsonFormatter, timestamp


@given(st.integers(0, 4_000_000_000_000))
def test_times_are_rfc_3339(milliseconds: int) -> None:
    text = timestamp(milliseconds / 1000)
    parsed = datetime.fromisoformat(text)
    assert parsed.tzinfo == UTC
    assert abs(parsed.timestamp() - milliseconds / 1000) < 0.0015
    assert len(text) == len("2026-01-31T12:00:00.250Z")


@given(
    st.text(),
    st.dictionaries(
        st.sampled_from(["a", "b"]), st.text(st.characters(exclude_categories=["Cs"])) | st.binary()
    ),
)
def test_whatever_is_logged_is_one_line_of_json(message: str, extra: dict[str, object]) -> None:
    record = logging.makeLogRecord(
        {"name": "their.module", "levelno": 30, "levelname": "WARNING", "msg": message}
    )
    record.__dict__.update(extra)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    document = json.loads(line)
    assert document["message"] == message.encode(errors="replace").decode()
    assert (document["level"], document["logger"]) == ("warning", "their.module")
    assert extra.keys() <= document.keys()


def test_a_line_belongs_to_its_request_and_has_its_traceback() -> None:
    token = REQUEST_ID.set("r-1")
    try:
        raise ValueError("why")
    except ValueError:
        record = logging.makeLogRecord({"msg": "x", "exc_info": sys.exc_info()})
        document = json.loads(JsonFormatter().format(record))
    finally:
        REQUEST_ID.reset(token)
    assert document["request_id"] == "r-1"
    assert document["exception"].endswith("ValueError: why")


def test_the_access_log_gathers_lines_and_writes_them_together() -> None:
    written, timers = [], []
    access = AccessLog(written.append, lambda seconds, flush: timers.append(flush), lambda: 0.25)
    access("r-1", "POST", "/predict", 200, 0.0012345678)
    access("r-2", "GET", "/a\nb", 404, 0.1)
    assert (written, len(timers)) == ([], 1)
    timers[0]()
    access.flush()
    [both] = written
    first, second = map(json.loads, both.split(b"\n"))
    assert first == {
        "time": "1970-01-01T00:00:00.250Z",
        "level": "info",
        "message": "request",
        "request_id": "r-1",
        "method": "POST",
        "route": "/predict",
        "status": 200,
        "seconds": 0.001235,
    }
    assert second["route"] == "/a\nb"


def test_other_loggers_and_warnings_come_out_the_same_way() -> None:
    program = (
        "import logging, warnings\n"
        "from serinus.serving import logs\n"
        "logs.configure()\n"
        "logging.getLogger('their').warning('one\\ntwo')\n"
        "warnings.warn('old', stacklevel=1)\n"
        "logging.getLogger('_granian').warning('Embedded server is experimental!')\n"
        "logging.getLogger('_granian').error('three')\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=20, check=True)
    assert ended.stdout == b""
    lines = [json.loads(line) for line in io.BytesIO(ended.stderr)]
    assert [line["logger"] for line in lines] == ["their", "py.warnings", "_granian"]
