"""The command line: parse, call one function, print. A module a command, loaded when it is used."""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from embedx.errors import EmbedxError, EmbedxWarning, unknown_name

__all__ = ["entry", "main"]

COMMANDS = {
    "quickstart": "run the whole way on the bundled sample: extract, compare, save, predict",
    "download": "turn a CSV of links into a labelled folder of audio",
    "extract": "turn a folder or a CSV of audio into one HDF5 file of embeddings",
    "inspect": "say what is wrong with the data before any model: duplicates, leaks, likely wrong labels",
    "compare": "judge heads against the majority and log-mel controls on the same folds",
    "tune": "search the parameters of one head by cross-validation",
    "fit": "train one head and save the model",
    "predict": "label new audio with a saved model",
    "info": "say what is in a store or a saved model",
    "verify": "check every row of a store",
    "merge": "put several stores of one recipe into one",
    "export": "write a saved head as ONNX, for serving elsewhere",
}
"""Name and one line of help; ``embedx/cli/NAME.py`` holds ``add_arguments(parser)`` and ``run(args) -> int``."""

EXIT_DONE, EXIT_BUG, EXIT_BAD_INPUT, EXIT_SOME_FAILED, EXIT_BLOCKED, EXIT_INTERRUPTED = 0, 1, 2, 3, 4, 130


class _Parser(argparse.ArgumentParser):
    """An argument parser whose error is one line that names the next step."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; the process's own by default.

    Returns
    -------
    int
        0 done; 2 bad input or usage; 3 done, but some sources failed; 4 a host blocked the download;
        130 interrupted; 1 our own bug.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return EXIT_DONE if words else EXIT_BAD_INPUT
    if words[0] in ("-V", "--version"):
        from embedx import __version__

        print(f"embedx {__version__}")
        return EXIT_DONE
    if words[0] not in COMMANDS:
        print(f"embedx: {unknown_name('command', words[0], COMMANDS)}", file=sys.stderr)
        return EXIT_BAD_INPUT
    return _run(words[0], words[1:])


def entry() -> NoReturn:
    """Be the process ``embedx``: run one command and exit with its code.

    An interrupted process ends at once: everything is on disk by then, and taking torch down takes seconds.
    """
    os.environ["PYTHONSAFEPATH"] = "1"  # no Python that is started from here runs a json.py that lies among recordings
    code = main()
    if code == EXIT_INTERRUPTED:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _overview() -> str:
    lines = [f"  {name:<12} {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: embedx COMMAND ...",
            "",
            "Labelled audio in, a classifier you can trust out.",
            "",
            *lines,
            "",
            "embedx COMMAND --help says more; every command takes --debug for a traceback.",
        ]
    )


def _run(command: str, words: Sequence[str]) -> int:
    module = importlib.import_module(f"embedx.cli.{command}")
    parser = _Parser(prog=f"embedx {command}", description=COMMANDS[command])
    parser.add_argument(
        "--debug", action="store_true", help="show the tracebacks of errors, those of its processes among them"
    )
    module.add_arguments(parser)
    try:
        args = parser.parse_args(words)
    except SystemExit as stop:
        return int(stop.code or 0)
    with _debugging() if args.debug else contextlib.nullcontext():
        return _guarded(module, args)


@contextlib.contextmanager
def _debugging() -> Iterator[None]:
    """Let processes that are started show their tracebacks, too."""
    before = os.environ.get("EMBEDX_DEBUG")
    os.environ["EMBEDX_DEBUG"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["EMBEDX_DEBUG"]
        else:
            os.environ["EMBEDX_DEBUG"] = before


def _guarded(module: Any, args: argparse.Namespace) -> int:
    warnings.showwarning = _show_warning
    try:
        return int(module.run(args))
    except KeyboardInterrupt:
        print(
            "embedx: interrupted; what was reported as done is kept, run the same command again to go on",
            file=sys.stderr,
        )
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE
    except EmbedxError as error:
        if args.debug:
            traceback.print_exc()
        print(f"embedx: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except Exception as error:
        if args.debug:
            traceback.print_exc()
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            print(f"embedx: {error.strerror}: make room where the output goes, and run it again", file=sys.stderr)
            return EXIT_BAD_INPUT
        hint = "" if args.debug else "; run again with --debug and report the traceback"
        print(
            f"embedx: internal error, {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}{hint}",
            file=sys.stderr,
        )
        return EXIT_BUG


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    if issubclass(category, EmbedxWarning):
        with contextlib.suppress(OSError):  # a full disk under the log is no reason to stop
            print(f"embedx: warning: {message}", file=sys.stderr)
