"""Run the tests beside busy processes, several times: do they hold on a machine that others use, too?

    python tests/under_load.py                                   # three times beside eight busy processes
    python tests/under_load.py --times 1 --busy 16 -- -m slow tests/extract

What stands behind ``--`` goes to pytest. Ends with 0 when every run was clean: nothing failed, nothing was left open,
and no thread ended in an error.
"""

import argparse
import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator

UNCLEAN = re.compile("ResourceWarning|PytestUnraisableException|PytestUnhandledThread|LEFT BEHIND: (?!file)")


def main() -> int:
    """Run, count, and print a line a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--busy", type=int, default=8, help="processes that never rest")
    parser.add_argument("words", nargs="*", help="for pytest")
    args = parser.parse_args()
    clean = 0
    with busy(args.busy):
        for number in range(1, args.times + 1):
            command = [sys.executable, "-m", "pytest", "-q", *args.words]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
            last = done.stdout.rstrip().rpartition("\n")[2]
            is_clean = done.returncode == 0 and not UNCLEAN.search(done.stdout)
            if not is_clean:
                print(done.stdout)
            print(f"run {number} of {args.times} beside {args.busy} busy processes: {last}", flush=True)
            clean += is_clean
    return 0 if clean == args.times else 1


@contextlib.contextmanager
def busy(n: int) -> Iterator[None]:
    """Keep so many processes at work meanwhile."""
    crowd = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try:
        yield
    finally:
        for one in crowd:
            one.kill()
            one.wait()


if __name__ == "__main__":
    sys.exit(main())
