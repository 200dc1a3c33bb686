# SPDX-License-Identifier: MIT
"""The development server: a parent process that starts server.py again when a file is saved.

The parent owns the listening sockets. While the saved files cannot be started, the parent answers each
request with a page that shows the exception. Production never uses this package.
"""
