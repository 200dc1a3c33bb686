# SPDX-License-Identifier: MIT
"""Which environment variables are settings, which hold the name of a file, and which other programs have set.

    STORMCELLAR_PORT=8888                         a setting
    STORMCELLAR_SECRET_FILE=/run/secrets/site     a file that holds the setting, as containers pass secrets
    STORMCELLAR_PORT=tcp://10.0.0.1:80            a link of Kubernetes or Docker: ignored

Kubernetes gives every container variables for each service in its namespace, named after the service. If the
service is called stormcellar, or stormcellar-something, they begin like settings.

Source: Kubernetes documentation, "Accessing the Service"; Docker documentation, "Legacy container links".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

MOST_FILE_BYTES = 64 * 1024

LINK_ADDRESS = re.compile(r"(tcp|udp|sctp)://\S*")
LINK_NAME = re.compile(
    r"(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?|ENV_\w+)"
)


class Variable(NamedTuple):
    """A variable that sets something: the name of the setting, its text, and where it was found."""

    name: str
    text: str
    source: str


class UnreadableFileError(ValueError):
    """A variable names a file that cannot be used; the message says what to change."""


def variables(environ: Mapping[str, str], prefix: str, names: frozenset[str]) -> Iterator[Variable]:
    """Yield the variables that begin with the prefix, without links of other programs.

    Args:
        names: of all settings, as they are written in the environment, without the prefix.

    Raises:
        UnreadableFileError: a variable names a file that cannot be read, or a setting is given twice.
    """
    for variable, text in environ.items():
        if not variable.startswith(prefix):
            continue
        name = variable.removeprefix(prefix)
        setting = name.removesuffix("_FILE") if name != "CONFIG_FILE" else name
        if is_link(name, text, names):
            continue
        if name in names or setting not in names:
            yield Variable(name, text.strip(), f"environment variable {variable}")
        elif prefix + setting in environ and not is_link(setting, environ[prefix + setting], names):
            raise UnreadableFileError(
                f"The environment has both {prefix}{setting} and {variable}. Remove one of them."
            )
        elif text.strip():
            source = f"file {text.strip()}, named by environment variable {variable}"
            yield Variable(setting, _content(Path(text.strip()), variable), source)


def is_link(name: str, text: str, names: frozenset[str]) -> bool:
    """Whether Kubernetes or Docker has set a variable for a service or for a linked container."""
    if (name == "PORT" or name.endswith("_PORT")) and LINK_ADDRESS.fullmatch(text):
        return True
    if name in names:
        return False
    is_container = (name == "NAME" or name.endswith("_NAME")) and text.startswith("/")
    return is_container or LINK_NAME.fullmatch(name) is not None


def _content(path: Path, variable: str) -> str:
    """The text of a file without white space around it."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_FILE_BYTES + 1)
        if len(content) > MOST_FILE_BYTES:
            raise ValueError("it is too large")
        return content.decode("utf-8-sig").strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a short text in UTF-8"
        raise UnreadableFileError(
            f"The file {path} cannot be read: {reason}. Name a file that holds the value alone, and that the "
            f"user who runs the server can read. (environment variable {variable})"
        ) from None
