# SPDX-License-Identifier: MIT
"""`make audit`: does any locked package have a known weakness?

Each lock of the kit is given to pip-audit. Its own exit code is not enough: it calls a package that its
data source does not know "skipped", and ends with success although nothing was looked up. Here that is a
failure of its own, and so is a source that does not answer.

Exit code: 0 all were looked up and nothing is known; 1 weaknesses, which are listed; 2 some could not be
looked up. AUDIT_SERVICE in the environment is the data source: pypi (as it is), osv or esms.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
KNOWN, UNKNOWN = 1, 2


@dataclass
class Findings:
    """What was found about the packages of one lock."""

    looked_up: int = 0
    weaknesses: list[str] = field(default_factory=list)
    not_looked_up: list[str] = field(default_factory=list)


def audit(lock: Path, command: Sequence[str]) -> Findings:
    """Ask about every package of a lock file; `command` is pip-audit with its options."""
    options = ("--disable-pip", "--require-hashes", "--format=json", "--progress-spinner=off")
    done = subprocess.run(  # noqa: S603 - our own tool on our own file
        [*command, *options, f"--requirement={lock}"], capture_output=True, text=True, check=False
    )
    findings = Findings()
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        said = done.stderr.strip().splitlines() or ["nothing"]
        findings.not_looked_up.append(f"every package: pip-audit said {said[-1][:300]}")
        return findings
    for package in packages:
        if "skip_reason" in package:
            findings.not_looked_up.append(package["name"])
            continue
        findings.looked_up += 1
        for weakness in package["vulns"]:
            fixed = ", ".join(weakness["fix_versions"]) or "no version yet"
            findings.weaknesses.append(
                f"{package['name']} {package['version']}: {weakness['id']}, fixed in {fixed}"
            )
    if not packages:
        findings.not_looked_up.append("every package: pip-audit found none in the file")
    return findings


def main(locks: Sequence[Path], command: Sequence[str]) -> int:
    results = {lock: audit(lock, command) for lock in locks}
    for lock, found in results.items():
        print(f"{lock.name}: {found.looked_up} looked up, {len(found.weaknesses)} weaknesses")
        for line in found.weaknesses:
            print(f"  {line}")
        if found.not_looked_up:
            print(f"  not looked up: {', '.join(found.not_looked_up)}")
    incomplete = not results or any(found.not_looked_up for found in results.values())
    if incomplete:
        print(
            "The data source did not answer for all packages, and nothing is known about the others. Try "
            "again where it can be reached, or name another one: AUDIT_SERVICE=osv make audit"
        )
    if any(found.weaknesses for found in results.values()):
        return KNOWN
    return UNKNOWN if incomplete else 0


if __name__ == "__main__":
    service = os.environ.get("AUDIT_SERVICE", "pypi")
    tool = [str(Path(sys.executable).parent / "pip-audit"), f"--vulnerability-service={service}"]
    sys.exit(main([ROOT / "requirements.lock", *sorted(ROOT.glob("requirements/*.lock"))], tool))
