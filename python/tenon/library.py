# SPDX-License-Identifier: Apache-2.0
"""Opens libtenon.so and speaks its C API through cffi, without a compiler: declarations are those of tenon.h itself.

The opened library (`shared`) is the package's one global object. It also owns the two C callbacks, which outlive every engine
because engines keep the callbacks of the session that made them.
"""
from __future__ import annotations

import contextlib
import itertools
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cffi

from . import errors

# progress(phase, done, total): a true answer cancels; total 0 means unknown.
Progress = Callable[[str, int, int], Any]

PACKAGE = Path(__file__).resolve().parent
SOURCE_TREE = PACKAGE.parent.parent
LEVELS = (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)      # by tenon_severity
log = logging.getLogger("tenon")


def declarations(header: str) -> str:
    """What cffi reads of a C header: no comments, no preprocessor lines, no attributes."""
    text = re.sub(r"/\*.*?\*/", "", header, flags=re.S)
    text = re.sub(r"^#ifdef __cplusplus.*?^#endif", "", text, flags=re.S | re.M)
    text = re.sub(r"^\s*#(?:.*\\\n)*.*$", "", text, flags=re.M)
    return re.sub(r"\bTENON_(?:API|MUST_USE)\b", "", text)


def find_header() -> Path:
    """tenon.h: beside the package in a wheel, else the source tree's."""
    for path in (PACKAGE / "tenon.h", SOURCE_TREE / "include" / "tenon.h"):
        if path.is_file():
            return path
    raise ImportError(f"tenon.h is neither in {PACKAGE} nor in {SOURCE_TREE / 'include'}")


def find_library() -> Path:
    """libtenon.so: what TENON_LIBRARY names (a file, or a build folder), else beside the package, else in the source tree's
    build/."""
    given = os.environ.get("TENON_LIBRARY")
    if given:
        path = Path(given)
        path = path / "libtenon.so" if path.is_dir() else path
        if not path.is_file():
            raise ImportError(f"TENON_LIBRARY={given}: there is no {path}")
        return path.resolve()
    places = (PACKAGE / "libtenon.so", SOURCE_TREE / "build" / "libtenon.so")
    for path in places:
        if path.is_file():
            return path
    raise ImportError("libtenon.so was not found; looked for " + " and ".join(map(str, places)) +
                      ". Build it (./dev build) or name it in TENON_LIBRARY")


class Session:
    """A tenon_cx for the calls of one thread."""

    def __init__(self, library: Library, cx: Any) -> None:
        self.library, self.cx = library, cx
        self.raised: BaseException | None = None        # by the progress function, or Ctrl-C while it ran

    def check(self, status: int) -> None:
        """Raises what the status of a call with this session says."""
        if status == 0:
            return
        if self.raised is not None:
            raised, self.raised = self.raised, None
            raise raised
        self.library.fail(status, self.library.c.tenon_cx_message(self.cx))


class Library:
    """The C API, opened once. Safe for any number of threads: every call that can fail has a session of its own."""

    def __init__(self, path: Path, header: Path) -> None:
        text = header.read_text(encoding="utf-8")
        self.path = path
        self.ffi = cffi.FFI()
        self.ffi.cdef(declarations(text))
        try:
            self.c: Any = self.ffi.dlopen(str(path))
        except OSError as e:
            raise ImportError(f"{path} cannot be opened: {e}") from e
        self.version = self.text(self.c.tenon_version())
        wanted = ".".join(re.findall(r"#define TENON_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", text))
        if self.version != wanted:
            raise ImportError(f"{path} is Tenon {self.version}, {header} describes {wanted}: build it anew (./dev build)")
        self._sessions: dict[int, tuple[Session, Progress]] = {}
        self._keys = itertools.count(1)
        self._log = self.ffi.callback("tenon_log_fn", self._on_log)
        self._progress = self.ffi.callback("tenon_progress_fn", self._on_progress, error=1)

    def text(self, chars: Any) -> str:
        """A C string as str; "" for NULL."""
        return self.ffi.string(chars).decode("utf-8", "replace") if chars else ""

    def fail(self, status: int, message: Any) -> None:
        """Raises the exception of a status."""
        kind = errors.BY_STATUS[status] if status < len(errors.BY_STATUS) else errors.Error
        raise kind(self.text(message) or self.text(self.c.tenon_status_name(status)))

    @contextlib.contextmanager
    def session(self, progress: Progress | None = None) -> Iterator[Session]:
        """A session for the calling thread. Even without a progress function Python is asked now and then, so that Ctrl-C
        works."""
        options, out = self.ffi.new("tenon_cx_options *"), self.ffi.new("tenon_cx **")
        key = next(self._keys)
        options.log, options.severity = self._log, sum(log.isEnabledFor(level) for level in LEVELS[1:])
        options.progress, options.progress_user = self._progress, self.ffi.cast("void *", key)
        status = self.c.tenon_cx_create(options, out)
        if status != 0:
            self.fail(status, self.ffi.NULL)
        session = Session(self, out[0])
        self._sessions[key] = (session, progress or (lambda phase, done, total: False))
        try:
            yield session
        finally:
            del self._sessions[key]
            self.c.tenon_cx_destroy(out)

    def take_text(self, session: Session, out: Any) -> str:
        """The string that a call gave in `out` (char **), which is freed."""
        try:
            return self.text(out[0])
        finally:
            self.c.tenon_text_free(session.cx, out)

    def _on_log(self, user: Any, severity: int, message: Any) -> None:
        log.log(LEVELS[severity], "%s", self.text(message))

    def _on_progress(self, user: Any, phase: Any, done: int, total: int) -> int:
        found = self._sessions.get(int(self.ffi.cast("uintptr_t", user)))
        if found is None:               # an engine outlives the session that made it
            return 0
        session, progress = found
        try:
            return 1 if progress(self.text(phase), done, total) else 0
        except BaseException as e:      # given by Session.check once the library has returned
            session.raised = e
            return 1


shared = Library(find_library(), find_header())
