"""Logs: one line an event, to stdout (journald keeps it) and, when asked, to `<home>/logs/noctis.log`.

Event names are stable (`association.refused`), the context is in fields; pretty on a terminal, JSON otherwise. No
patient's name, ID or birth date is ever a field. Several processes write the same file: each line is one `write` with
O_APPEND. The file is opened anew when logrotate has moved it.
"""

import json
import logging
import os
import sys
import threading
import warnings
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, TextIO

import structlog

from noctis.home import Home
from noctis.sections import LoggingSettings

LOG_FILE = "noctis.log"
_VALUE_MAX = 10_000  # characters of a value that has something to escape


class _Lines:
    """A file-like object that writes whole lines to a descriptor, and to a file that may be rotated away.

    The file's descriptor is never written to once its number may mean another file, an image or a sender's connection
    for example: a forked child, which closes what it inherits, opens its own, and threads take turns.
    """

    def __init__(self, stream: TextIO, path: Path | None) -> None:
        self._stream = stream
        self._path = path
        self._file = -1
        self._inode = 0
        self._pid = 0  # of the process that opened it
        self._lock = threading.Lock()

    def write(self, text: str) -> int:
        line = text.encode("utf-8", "backslashreplace")
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            pass  # a closed pipe must not stop receiving
        if self._path is not None:
            self._write_file(line)
        return len(text)

    def flush(self) -> None:
        """Every write is flushed already."""

    def _write_file(self, line: bytes) -> None:
        assert self._path is not None
        if self._pid != os.getpid():
            self._file, self._pid, self._lock = -1, os.getpid(), threading.Lock()
        with self._lock:
            try:
                self._open_if_moved(self._path)
                os.write(self._file, line)
            except OSError:  # a full disk must not stop receiving; the next line tries again
                self._close()

    def _open_if_moved(self, path: Path) -> None:
        if self._file >= 0:
            try:
                if os.stat(path).st_ino == self._inode:
                    return
            except FileNotFoundError:
                pass
            self._close()
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._inode = os.fstat(self._file).st_ino

    def _close(self) -> None:
        descriptor, self._file = self._file, -1
        if descriptor >= 0:
            os.close(descriptor)


class _ToStructlog(logging.Handler):
    """Libraries' own log records, as one event."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(record.levelno, "library.log", logger=record.name, message=record.getMessage())


def _printable(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape what is unprintable: a peer's words cannot begin a line, colour a terminal or turn its direction round.

    Tracebacks are added behind this and stay as they are.
    """
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[key] = "".join(
                each if each.isprintable() else each.encode("unicode_escape").decode() for each in value[:_VALUE_MAX]
            )
    return event


_encoder = json.JSONEncoder(ensure_ascii=False, default=repr)


def _serialise(event: Any, **_: Any) -> str:
    """As `json.dumps`, which makes an encoder anew at every call."""
    return _encoder.encode(event)


def configure(settings: LoggingSettings, *, debug: bool = False, home: Home | None = None) -> None:
    """Set up this process's logs; children that are forked inherit them."""
    level = logging.DEBUG if debug else getattr(logging, settings.level.upper())
    pretty = settings.format == "console" or (settings.format == "auto" and sys.stdout.isatty())
    # Tracebacks without the values of variables: those may be a patient's, a password or a token.
    console = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    renderer: Any = console if pretty else structlog.processors.JSONRenderer(_serialise)
    path = home.logs / LOG_FILE if settings.file and home is not None else None
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _printable,
            structlog.processors.StackInfoRenderer(),
            *([] if pretty else [structlog.processors.format_exc_info]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(_Lines(sys.stdout, path)),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )
    logging.root.handlers[:] = [_ToStructlog()]
    logging.root.setLevel(logging.WARNING)
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # its lines may carry what a data set holds
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    for library in ("pydicom", "pynetdicom"):  # so may their warnings, which would go to stderr
        warnings.filterwarnings("ignore", module=library)
