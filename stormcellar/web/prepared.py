# SPDX-License-Identifier: MIT
"""Hold every handler to the whole of `BaseHandler.prepare`, which decides who may come in.

A class that overrides `prepare` must run the method of the base class to its end:

    async def prepare(self) -> None:
        await super().prepare()
        ...

Two mistakes leave a page open to everybody: no call at all (also in a mixin), and a call without `await`. The
source of the class shows most of them, and then the server does not start. Each request is checked as well:
`guarded` runs after the class's own `prepare` and before `get` or `post`.
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

GUARDS = "guards"  # the attribute of a guard that holds the method inside
ADVICE = "write `await super().prepare()` in it"


class PrepareSkipped(RuntimeError):
    """A handler's own `prepare` has not run that of the base class to its end."""

    def __init__(self, handler: type) -> None:
        super().__init__(
            f"{handler.__module__}.{handler.__qualname__} was called without the whole of "
            f"BaseHandler.prepare(), which checks the session: where it overrides prepare(), {ADVICE}"
        )


def guarded(own: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Wrap a class's `prepare`: after it, the base class's must have run to its end, or the request fails."""

    @functools.wraps(own)
    async def prepare(self: Any) -> None:
        result = own(self)
        if result is not None:
            await result
        is_outermost = getattr(type(self).prepare, GUARDS, None) is own
        if is_outermost and not self.is_prepared and not self._finished:
            raise PrepareSkipped(type(self))

    setattr(prepare, GUARDS, own)
    return prepare


def is_guarded(method: Callable[[Any], Any]) -> bool:
    return hasattr(method, GUARDS)


def objection(handler: type, base: type) -> str:
    """What is wrong with the `prepare` methods that run before that of `base`; "" if nothing is.

    Only what the source shows is found.
    """
    for owner in handler.__mro__[: handler.__mro__.index(base)]:
        own = owner.__dict__.get("prepare")
        method = inspect.unwrap(own) if own is not None else None
        if method is not None and (wrong := _what_is_wrong(method)):
            return f"{method.__module__}.{method.__qualname__}() {wrong}"
    return ""


@functools.lru_cache(maxsize=1024)  # most handlers share a few methods, and parsing one takes a millisecond
def _what_is_wrong(method: Callable[..., Any]) -> str:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
    except (OSError, TypeError, SyntaxError, SystemError):
        # There is no source, or other code interrupted the parser (CPython 3.11). The request will tell.
        return ""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_prepare(node)]
    if not calls:
        return "does not call that of its base class"
    dropped = [node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)]
    if all(call in dropped for call in calls):
        return "calls that of its base class without `await`, so it never runs"
    return ""


def _is_prepare(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr == "prepare"
