"""Run a command and write down its time and peak memory: ``python -S measure_process.py REPORT PARENT COMMAND ...``.

A process of its own, small, because Linux counts the memory of the process that forked as its child's: started by
a process that has loaded torch, every step would seem to need as much. The command has a process group of its own: an
interrupt reaches it once, and it ends when the run that started it was killed, so that the next run meets nobody.
"""

import ctypes
import json
import os
import signal
import sys
import time

PR_SET_PDEATHSIG = 1


def main() -> int:
    """Run the command and write the report; return 0 whatever became of the command."""
    report, parent, *words = sys.argv[1:]
    started = time.monotonic()
    process = os.posix_spawn(words[0], words, os.environ, setpgroup=0)

    def kill(*_: object) -> None:
        os.killpg(process, signal.SIGKILL)

    signal.signal(signal.SIGTERM, kill)
    signal.signal(signal.SIGHUP, kill)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        kill()
    is_told = False
    while True:
        try:
            _, code, usage = os.wait4(process, 0)
            break
        except KeyboardInterrupt:
            if not is_told:
                os.kill(process, signal.SIGINT)
            is_told = True
    status = os.waitstatus_to_exitcode(code)
    cpu = usage.ru_utime + usage.ru_stime
    found = {"status": status, "seconds": time.monotonic() - started, "cpu_seconds": cpu}
    found["peak_mb"] = usage.ru_maxrss / 1000
    with open(report, "w", encoding="utf-8") as file:
        json.dump(found, file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
