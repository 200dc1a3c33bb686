# SPDX-License-Identifier: MIT
"""`make fuzz`: a coverage-guided fuzzer on the parsers of stormcellar/tests/parsers.py.

FUZZ_SECONDS in the environment is how long it goes on (60 if it is not set); ARGS are options of libFuzzer.
The inputs that reached something new are kept in tests/.artifacts/fuzz, and the next run goes on from there.
An input that breaks a promise ends the run with exit code 77 and is left there as crash-...; its first byte
chooses the parser. Put it into FOUND in stormcellar/tests/parsers.py and mend the parser.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import atheris

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "tests" / ".artifacts" / "fuzz"
LONGEST_INPUT = 8192  # bytes; the parsers' own limits lie below

sys.path.insert(0, str(ROOT))
with atheris.instrument_imports(include=["sessions", "handlers", "accounts", "json"]):
    from stormcellar.tests.parsers import PARSERS, SEEDS


def judge(data: bytes) -> None:
    """Let the first byte choose the parser, and give it the rest."""
    if data:
        PARSERS[data[0] % len(PARSERS)](data[1:])


def main() -> None:
    CORPUS.mkdir(parents=True, exist_ok=True)
    for number, parser in enumerate(PARSERS):
        for count, seed in enumerate(SEEDS[parser]):
            (CORPUS / f"seed-{parser.__name__}-{count}").write_bytes(bytes([number]) + seed)
    limits = [f"-max_total_time={os.environ.get('FUZZ_SECONDS', '60')}", f"-max_len={LONGEST_INPUT}"]
    quiet = ["-print_final_stats=1", "-timeout=10", f"-artifact_prefix={CORPUS}/"]
    atheris.Setup([sys.argv[0], *limits, *quiet, *sys.argv[1:], str(CORPUS)], judge)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
