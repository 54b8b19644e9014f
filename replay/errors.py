"""Errors a person can act on: what is wrong, where to look, what to do."""

from __future__ import annotations


class ToolkitError(Exception):
    """Any error that the toolkit raises on purpose.

    Args:
        what: What is wrong, with the offending value; one sentence.
        where: The file, line, request or checkpoint to look at.
        fix: What the reader can do about it.
    """

    def __init__(self, what: str, *, where: str, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what}\n  where: {self.where}\n  fix:   {self.fix}"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.where, self.fix)


class ConfigError(ToolkitError, ValueError):
    """An argument, a configuration file or a plan can not be used as it stands."""


class LogError(ToolkitError, ValueError):
    """A log is missing, unreadable, or not in the log format."""


class ArtifactError(ToolkitError, ValueError):
    """A model file is missing, damaged, of an unknown version, or from another training."""


class StackError(ToolkitError, ValueError):
    """A stack broke its contract: a wrong shape, an unknown checkpoint, unusable `given`."""


class WorkerError(ToolkitError, RuntimeError):
    """A stack's process died, hung, or could not be started."""


def _rebuild(kind: type[ToolkitError], what: str, where: str, fix: str) -> ToolkitError:
    return kind(what, where=where, fix=fix)
