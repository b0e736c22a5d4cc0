"""Serve a bundle over HTTP: `python -m service`; every setting is an environment variable, see settings.py."""

import signal
import sys

# Before the imports below, which take a second: a signal that asks for another bundle must not end the process in it.
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

from pydantic import ValidationError

from service.app import create_app
from service.errors import MosGuardError, SettingError
from service.http.server import run
from service.settings import Settings, one_sentence
from service.watch.logs import configure_logging

BAD_BUNDLE, BAD_SETTINGS, INTERRUPTED = 1, 2, 130


def main() -> int:
    """Return the exit status: 0 after an orderly end, 1 for a bundle that cannot be served, 2 for wrong settings."""
    try:
        settings = Settings()
    except ValidationError as error:
        sys.stderr.write(f"{one_sentence(error)}\n")
        return BAD_SETTINGS
    handler = configure_logging(settings.log_format, settings.log_level)
    try:
        app = create_app(settings, service_log=handler)
        run(app, host=settings.host, port=settings.port, drain_seconds=settings.drain_seconds)
    except SettingError as error:
        sys.stderr.write(f"{error}\n")
        return BAD_SETTINGS
    except MosGuardError as error:
        sys.stderr.write(f"{error}\n")
        return BAD_BUNDLE
    except KeyboardInterrupt:  # before the server took over the signal
        return INTERRUPTED
    finally:
        handler.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
