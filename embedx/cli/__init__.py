"""The command line: parse, call one function, print. A module a command, loaded when it is used."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import platform
import shlex
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from embedx.cli.output_paths import require_log, require_outputs
from embedx.cli.parser import Parser, asks_for_help, build_parser
from embedx.cli.path_conflicts import require_apart
from embedx.cli.terminal import log, show, talk, talking
from embedx.errors import EmbedxError, EmbedxWarning, Interrupted, ParameterError, unknown_name
from embedx.text import first_line

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
    "evaluate": "judge what a model hears in long recordings by their true events",
    "serve": "try a saved model on a page, and use it by HTTP",
    "label": "label clips on a page that asks for those that teach most",
    "search": "find the clips of a store that sound most like one clip, or like those of a label",
    "encoders": "list the encoders that can be used, what they are good at, and which are here",
    "info": "say what is in a store or a saved model",
    "verify": "check every row of a store",
    "merge": "put several stores of one recipe into one",
    "export": "write a saved head as ONNX, for serving elsewhere",
    "doctor": "say what this machine has, what is wrong with it, and what to install",
    "completion": "print what makes a shell complete commands and options",
}
"""Name and one line of help; ``embedx/cli/NAME.py`` holds ``add_arguments(parser)`` and ``run(args) -> int``."""

EXIT_DONE, EXIT_BUG, EXIT_BAD_INPUT, EXIT_SOME_FAILED, EXIT_BLOCKED, EXIT_INTERRUPTED = 0, 1, 2, 3, 4, 130


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
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what may follow
        from embedx.cli.completion import complete

        complete(COMMANDS)
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["help"] and len(words) > 1:
        words = [words[1], "--help"]
    if not words or words[0] in ("-h", "--help", "help"):
        for line in _overview():
            show(line)
        return EXIT_DONE if words else EXIT_BAD_INPUT
    if words[0] in ("-V", "--version"):
        from embedx import __version__

        show(f"embedx {__version__}")
        return EXIT_DONE
    if words[0] not in COMMANDS:
        show(f"embedx: {unknown_name('command', words[0], COMMANDS)}", file=sys.stderr)
        return EXIT_BAD_INPUT
    return _run(words[0], words[1:])


def entry() -> NoReturn:
    """Be the process ``embedx``: run one command and exit with its code.

    An interrupted process ends at once: everything is on disk by then, and taking torch down takes seconds.
    """
    os.environ["PYTHONSAFEPATH"] = "1"  # no Python that is started from here runs a json.py that lies among recordings
    try:
        code = main()
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:  # `embedx ... --help | head`
        code = _reader_left()
    except OSError as error:
        show(f"embedx: what is printed cannot be written: {error.strerror}", file=sys.stderr)
        code = _reader_left() or EXIT_BAD_INPUT
    if code == EXIT_INTERRUPTED:
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _overview() -> list[str]:
    lines = [f"  {name:<12} {text}" for name, text in COMMANDS.items()]
    return [
        "usage: embedx COMMAND ...",
        "",
        "Labelled audio in, a classifier you can trust out.",
        "",
        *lines,
        "",
        "embedx help COMMAND says more. Every command takes --quiet, --verbose, --log-file FILE and --debug.",
    ]


def _run(command: str, words: Sequence[str]) -> int:
    try:
        module, parser = build_parser(command, COMMANDS[command])
        args = parser.parse_words(["--help"] if asks_for_help(words) else words)
    except SystemExit as stop:
        return int(stop.code or 0)
    except KeyboardInterrupt:
        show("embedx: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    try:
        require_apart(command, args)
        if args.log_file is not None:
            require_log(args.log_file)
        saying = talking(quiet=args.quiet, verbose=args.verbose, log_file=args.log_file)
        with saying, _debugging() if args.debug else contextlib.nullcontext():
            return _guarded(command, module, args, words, parser)
    except (ParameterError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        show(f"embedx: {why}" if why is error else f"embedx: --log-file {args.log_file}: {why}", file=sys.stderr)
        return EXIT_BAD_INPUT


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


def _guarded(command: str, module: Any, args: argparse.Namespace, words: Sequence[str], parser: Parser) -> int:
    from embedx.child_process import interrupted_by_sigterm

    warnings.showwarning = _show_warning
    started = time.monotonic()
    try:
        log(shlex.join(["embedx", command, *words]))
        _say_versions()
        require_outputs(command, args)
        with _showing_downloads(), interrupted_by_sigterm():
            return int(module.run(args))
    except KeyboardInterrupt as stop:
        what_is_kept = str(stop) if isinstance(stop, Interrupted) else ""
        show(f"embedx: interrupted{'; ' if what_is_kept else ''}{what_is_kept}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return _reader_left()
    except Exception as error:
        return _fail(error, parser, is_debugging=args.debug)
    finally:
        _say_cost(command, time.monotonic() - started)


def _reader_left() -> int:
    """Write nothing more to a pipe that nobody reads, not even when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_DONE


def _showing_downloads() -> contextlib.AbstractContextManager[None]:
    """Show the download of an encoder as all other long work is shown."""
    from embedx.cli.progress import ProgressBar
    from embedx.encoders.hub import reporting

    return reporting(lambda title: ProgressBar(title, unit="MB"))


def _fail(error: Exception, parser: Parser, *, is_debugging: bool) -> int:
    """Say what went wrong in one line; the log file gets the traceback of what nobody foresaw."""
    if is_debugging:
        for line in traceback.format_exc().splitlines():
            show(line, file=sys.stderr)
    if isinstance(error, EmbedxError):
        show(f"embedx: {parser.with_options(str(error))}", file=sys.stderr)
        return EXIT_BAD_INPUT
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        show(f"embedx: {error.strerror}: make room where the output goes, and run it again", file=sys.stderr)
        return EXIT_BAD_INPUT
    if isinstance(error, MemoryError):
        show("embedx: there is too little memory for this: give it less at a time, or more memory", file=sys.stderr)
        return EXIT_BAD_INPUT
    if not is_debugging:
        log(traceback.format_exc())
    hint = "" if is_debugging else "; run again with --debug and report the traceback"
    show(f"embedx: internal error, {type(error).__name__}: {first_line(error)}{hint}", file=sys.stderr)
    return EXIT_BUG


def _say_versions() -> None:
    """Say, when asked to say more, what is running."""
    if talk.verbose:
        from embedx import __version__
        from embedx.versions import installed_versions

        versions = installed_versions(("numpy", "torch", "transformers", "scikit-learn", "h5py", "av"))
        words = ", ".join(f"{name} {version}" for name, version in versions.items())
        show(f"embedx {__version__} on {platform.platform()}, {words}", file=sys.stderr)


def _say_cost(command: str, seconds: float) -> None:
    """Say, when asked to say more, what it took."""
    if talk.verbose:
        with contextlib.suppress(OSError):
            show(f"{command} took {seconds:.1f} s{_peaks()}", file=sys.stderr)


def _peaks() -> str:
    try:
        import resource
    except ImportError:  # Windows
        return ""
    unit = 1e6 if sys.platform == "darwin" else 1e3  # bytes on macOS, kilobytes elsewhere
    own, child = (resource.getrusage(who).ru_maxrss / unit for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return f" and at most {own:,.0f} MB of memory, its largest child process {child:,.0f} MB"


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    own = issubclass(category, EmbedxWarning)
    if not own and not talk.verbose:
        return
    line = f"embedx: warning: {message}" if own else f"{category.__name__}: {message}"
    if talk.quiet:
        log(line)
        return
    with contextlib.suppress(OSError):  # a full disk under the log is no reason to stop
        show(line, file=sys.stderr)
