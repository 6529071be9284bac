"""Run a command and write down its time and the peak of its memory: ``python -S measured.py REPORT COMMAND ...``.

A process of its own, small, because Linux counts the memory of the process that forked as its child's: started by
a process that has loaded torch, every step would seem to need as much.
"""

import json
import os
import sys
import time


def main() -> int:
    """Run the command and write the report; return the command's exit status."""
    report, *words = sys.argv[1:]
    started = time.monotonic()
    process = os.posix_spawn(words[0], words, os.environ)
    while True:
        try:
            _, code, usage = os.wait4(process, 0)
            break
        except KeyboardInterrupt:  # the command got it too
            continue
    status = os.waitstatus_to_exitcode(code)
    found = {"status": status, "seconds": time.monotonic() - started, "peak_mb": usage.ru_maxrss / 1000}
    with open(report, "w", encoding="utf-8") as file:
        json.dump(found, file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
