# SPDX-License-Identifier: MIT
"""Keep the server secret in the data folder: `secret`, `old-secrets` and `next-secret`.

Each file is readable by its owner only, and holds one secret a line. The settings `secret` and `old_secrets`
take the place of the first, and come before the second.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from stormcellar.server_secret import ServerSecret
from stormcellar.settings import (
    SECRET_MIN_LENGTH,
    Settings,
    SettingsError,
    ensure_data_dir,
    looks_like_a_sample,
)

SECRET, OLD, NEXT = "secret", "old-secrets", "next-secret"


def server_secret(settings: Settings) -> ServerSecret:
    """Return the secret of a server, and the others that it opens values with.

    Raises:
        SettingsError: as load_or_create_secret; or a secret of the other files is too short.
    """
    current = load_or_create_secret(settings)
    listed = [text.encode() for text in settings.old_secrets]
    for name in (OLD, NEXT):
        listed += read_lines(settings.data_dir / name)
    return ServerSecret(current, tuple(secret for secret in dict.fromkeys(listed) if secret != current))


def load_or_create_secret(settings: Settings) -> bytes:
    """The server's secret: the setting, else the file `secret` in data_dir, made if it is not there.

    Processes that start together end with the same one.

    Returns:
        At least 32 bytes: the UTF-8 text of the setting, or of the file without surrounding white space, so
        that the file's content may be moved into the setting.

    Raises:
        SettingsError: the file cannot be made or read, others may read it, or it is too short or a sample.
    """
    if settings.secret:
        return settings.secret.encode()
    path = ensure_data_dir(settings) / "secret"
    try:
        if not path.exists():
            _publish_new_secret(path)
        return _read_secret(path, settings)
    except OSError as error:
        raise SettingsError(
            f"The secret cannot be kept in {path}: {error.strerror}. Let the user who runs the server read "
            "and write that folder, or set `secret`.",
            "data_dir",
            "secret",
        ) from error


def _publish_new_secret(path: Path) -> None:
    """Write it under another name, then link it: none reads a half of it, the first wins."""
    draft = _write_draft(path, new_secret().encode() + b"\n")
    try:
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        os.unlink(draft)
    _sync(path.parent)  # tokens will depend on it, so its name must survive a power failure too


def new_secret() -> str:
    """Return a good secret: 64 characters of base64url."""
    return secrets.token_urlsafe(48)


def _write_draft(path: Path, content: bytes) -> str:
    """Write a file beside another one, for its owner only (O_EXCL, 0600)."""
    descriptor, draft = tempfile.mkstemp(prefix=".secret-", dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return draft


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_own(path: Path) -> bytes:
    """Read a file that only its owner may have access to."""
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode & 0o777
        content = file.read()
    if mode & 0o077:
        raise SettingsError(
            f"The file {path} has mode {mode:04o}, but only its owner may have access. "
            f"If nobody else has read it, run `chmod 600 {path}`; else remove it, which signs everyone out, "
            "and a new one is made.",
            "data_dir",
        )
    return content


def _read_secret(path: Path, settings: Settings) -> bytes:
    secret = _read_own(path).strip()
    text = secret.decode(errors="replace")
    if len(text) < SECRET_MIN_LENGTH or (looks_like_a_sample(text) and not settings.admits_samples):
        raise SettingsError(
            f"The secret in {path} is too short or a sample, but it must be random and have at least "
            f"{SECRET_MIN_LENGTH} characters. Remove the file and a new one is made.",
            "data_dir",
        )
    return secret


def read_lines(path: Path) -> list[bytes]:
    """Return the secrets of a file, one a line; none if there is no such file.

    Raises:
        SettingsError: the file cannot be read, others may read it, or a line is too short.
    """
    try:
        text = _read_own(path)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SettingsError(f"The file {path} cannot be read: {error.strerror}.", "data_dir") from error
    found = [line.strip() for line in text.splitlines() if line.strip()]
    for number, line in enumerate(found, 1):
        if len(line) < SECRET_MIN_LENGTH:
            raise SettingsError(
                f"Line {number} of {path} has fewer than {SECRET_MIN_LENGTH} characters, so it is no secret "
                "of this server. Remove it.",
                "data_dir",
            )
    return found


def write_lines(path: Path, lines: list[bytes]) -> None:
    """Replace a file of secrets, so that a crash leaves the earlier file or this one; no lines remove it."""
    if lines:
        draft = _write_draft(path, b"".join(line + b"\n" for line in lines))
        owner = path.parent.stat()
        if os.geteuid() == 0 != owner.st_uid:  # the administrator runs the command, another user the server
            os.chown(draft, owner.st_uid, owner.st_gid)
        os.replace(draft, path)
    else:
        path.unlink(missing_ok=True)
    _sync(path.parent)
