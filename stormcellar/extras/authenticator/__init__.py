# SPDX-License-Identifier: MIT
"""Codes of an authenticator app as a second factor (RFC 6238), with recovery codes. Delete this folder to be
without; accounts that have it on are then asked for the password alone."""

from stormcellar.extras.authenticator.part import Authenticator as Part

__all__ = ["Part"]
