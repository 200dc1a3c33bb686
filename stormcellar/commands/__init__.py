# SPDX-License-Identifier: MIT
"""What `python manage.py COMMAND` does, one module for each group of commands."""
