"""Log lines, as JSON or as text, written by a thread of their own: a blocked or full sink never blocks an answer."""

import json
import logging
import os
import threading
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import Literal

STDERR = 2
# What may wait for a slow sink; later lines are dropped and counted.
MAX_WAITING_LINES = 10_000
# A sink that takes nothing for so long at the end is left behind.
_LAST_WRITE_SECONDS = 2.0


class JsonFormatter(logging.Formatter):
    """One JSON object a line; `extra={"fields": {...}}` adds members."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its newline."""
        line = {"time": _time(record), "level": record.levelname.lower(), "logger": record.name}
        line |= {"message": record.getMessage(), **getattr(record, "fields", {})}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """For eyes: time, level, message, then the fields as name=value."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its newline, or several where there is a traceback."""
        fields = "".join(f" {name}={value}" for name, value in getattr(record, "fields", {}).items())
        line = f"{_time(record)} {record.levelname:<7} {record.getMessage()}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class BackgroundHandler(logging.Handler):
    """Writes lines to a file descriptor from a thread; `emit` never waits."""

    def __init__(self, descriptor: int = STDERR) -> None:
        super().__init__()
        self.dropped_lines = 0
        self._descriptor = descriptor
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the line of *record*, or drop it where too many wait."""
        if self._lines.qsize() >= MAX_WAITING_LINES:
            self.dropped_lines += 1
            return
        self._lines.put(self.format(record))

    def close(self) -> None:
        """Write what waits, as far as the sink takes it, and end the thread."""
        self._lines.put(None)
        self._thread.join(_LAST_WRITE_SECONDS)
        super().close()

    def _write_all(self) -> None:
        while (line := self._lines.get()) is not None:
            # To the descriptor itself: a thread stuck inside sys.stderr would hold its lock when the process exits.
            data = line.encode(errors="backslashreplace") + b"\n"
            try:
                while data:
                    data = data[os.write(self._descriptor, data) :]
            except OSError:
                self.dropped_lines += 1


def configure_logging(form: Literal["json", "text"], level: str) -> BackgroundHandler:
    """Send the log of the service and of its HTTP server to standard error; close the handler at the end."""
    handler = BackgroundHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)  # libraries speak up when something is wrong
    for name in ("service", "uvicorn"):
        logging.getLogger(name).setLevel(level.upper())
    return handler


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
