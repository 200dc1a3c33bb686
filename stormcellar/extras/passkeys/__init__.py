# SPDX-License-Identifier: MIT
"""Passkeys (W3C Web Authentication, level 3): sign in without a password, and more than one proof in one.
Delete this folder to be without. It needs the library webauthn (requirements/passkeys.txt)."""

from stormcellar.extras.passkeys.part import Passkeys as Part

__all__ = ["Part"]
