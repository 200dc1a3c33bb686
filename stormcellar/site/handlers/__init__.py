# SPDX-License-Identifier: MIT
"""What a URL does: Tornado's side of the kit."""
