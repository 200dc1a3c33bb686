# SPDX-License-Identifier: MIT
"""The kit's own templates and static files. A file of the site with the same name replaces each of them.

    templates/   base.html for sites without one, pages that only the kit shows, parts of pages, mails
    static/      style.css, favicon.svg, session.js and the modules beside it

The lookup is in stormcellar/web/templates.py and stormcellar/web/static.py.
"""

from pathlib import Path

HERE = Path(__file__).resolve().parent
TEMPLATES = HERE / "templates"
STATIC = HERE / "static"
EXTRAS = HERE.parent / "extras"
