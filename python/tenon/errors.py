# SPDX-License-Identifier: Apache-2.0
"""The library's statuses as exceptions. The text is the library's own message, which names the node, tensor, file or flag."""
from __future__ import annotations


class Error(Exception):
    """Any failure that the library reports."""


class InvalidError(Error, ValueError):
    """A bad argument, model, name, type or shape."""


class UnsupportedError(Error):
    """Understood, but not done by this build or device."""


class NoMemoryError(Error, MemoryError):
    """Out of host or device memory."""


class CorruptError(Error):
    """A damaged engine, timing cache or model file."""


class DeviceError(Error):
    """A device, driver or library is missing or failing."""


class InternalError(Error):
    """A fault of Tenon itself."""


class CancelledError(Error):
    """The progress function said stop."""


# By tenon_status; 0 is success.
BY_STATUS: tuple[type[Error], ...] = (Error, InvalidError, UnsupportedError, NoMemoryError, CorruptError, DeviceError,
                                      InternalError, CancelledError)
