# SPDX-License-Identifier: MIT
"""`python -m stormcellar`: begin a site, or take the account pages into an application.

    new FOLDER     write a new site, which uses the installed package
    pages FOLDER   copy the account pages into an existing application

All other commands belong to a site: `python manage.py --help`.
"""

import sys

from stormcellar.commands.new_site import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
