"""Breaks a run at every step that changes the disk, and checks what is left. Run by test_store_faults.py.

    python faults.py kill|full|power FOLDER [--points N] [--seed S]

Every system call by which embedx changes a file goes through ``os``, so wrapping ``os`` here is a
fault-injecting file layer without a line of it in the package. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import random
import shutil
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fixtures

from embedx.errors import StoreError

STEPS = ("open", "pwrite", "fsync", "replace", "unlink", "mkdir", "rmdir", "ftruncate", "posix_fallocate")


class Steps:
    """Counts the steps of a run and calls ``at(number, name, do)`` in the place of each."""

    def __init__(self, at: Callable[[int, str, Callable[..., Any], tuple[Any, ...]], Any]) -> None:
        self.at, self.n = at, 0
        self.real = {name: getattr(os, name) for name in STEPS}

    def __enter__(self) -> Steps:
        for name in STEPS:
            setattr(os, name, self._wrapped(name))
        return self

    def __exit__(self, *_: object) -> None:
        for name, function in self.real.items():
            setattr(os, name, function)

    def _wrapped(self, name: str) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            if name == "open" and not args[1] & os.O_CREAT:
                return self.real[name](*args, **kwargs)
            self.n += 1
            return self.at(self.n, name, self.real[name], args)

        return step


def prepare(folder: Path) -> tuple[Path, Path, dict[str, bytes]]:
    audio, begun = folder / "audio", folder / "begun"
    manifest = fixtures.make_manifest(audio, 12)
    half = type(manifest)(manifest.sources[:5], manifest.root)
    begun.mkdir()
    (audio / "cat/002.wav").write_bytes(b"before the change")
    os.rename(audio / "cat/004.wav", audio / "cat/old.wav")
    moved = type(manifest).from_paths(["cat/old.wav"], labels=["cat"], groups=["4"], root=audio)
    sources = tuple(s for s in half.sources if s.uri != "cat/004.wav") + moved.sources
    fixtures.extract(begun / "emb.h5", type(manifest)(sources, manifest.root))
    os.rename(audio / "cat/old.wav", audio / "cat/004.wav")
    fixtures.make_audio(audio, ["cat/002.wav"])
    reference = folder / "reference"
    reference.mkdir()
    for name in sorted(os.listdir(audio)):  # one time for all, whatever was rewritten above
        for path in (audio / name).iterdir():
            os.utime(path, ns=(10**18, 10**18))
    fixtures.extract(reference / "emb.h5", manifest)
    return audio, begun, fixtures.contents(reference / "emb.h5")


def check(store: Path, audio: Path, reported: list[str], reference: dict[str, bytes]) -> list[str]:
    """Resume after a fault; return what is wrong."""
    manifest = fixtures.load_manifest(audio)
    again: list[str] = []
    fixtures.extract(store, manifest, report=lambda sources: again.extend(s.uri for s in sources))
    wrong = [f"{uri} was reported and computed again" for uri in again if uri in reported]
    found = fixtures.contents(store)
    wrong += [f"/{name} differs" for name in reference if found.get(name) != reference[name]]
    wrong += [f"left over: {name}" for name in fixtures.leftovers(store)]
    if fixtures.extract(store, manifest):
        wrong.append("a further run computed something")
    return wrong


def count_steps(folder: Path, begun: Path, audio: Path) -> int:
    trial = fresh(folder, begun)
    with Steps(lambda n, name, do, args: do(*args)) as steps:
        fixtures.extract(trial / "emb.h5", fixtures.load_manifest(audio))
    return steps.n


def fresh(folder: Path, begun: Path) -> Path:
    trial = folder / "trial"
    shutil.rmtree(trial, ignore_errors=True)
    shutil.copytree(begun, trial)
    return trial


# -- SIGKILL ---------------------------------------------------------------------------------------


def killed_run(store: Path, audio: Path, step: int, torn: bool, log: Path) -> bool:
    """Run in a fork that kills itself at a step, a write possibly half done; return whether it was killed."""

    def at(n: int, name: str, do: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        if n == step:
            if torn and name == "pwrite":
                do(args[0], bytes(args[1])[: len(args[1]) // 2], args[2])
            elif torn:
                do(*args)
            os.kill(os.getpid(), signal.SIGKILL)
        return do(*args)

    child = os.fork()
    if child == 0:
        with open(log, "a", buffering=1) as file, Steps(at):
            fixtures.extract(
                store,
                fixtures.load_manifest(audio),
                report=lambda sources: file.writelines(f"{s.uri}\n" for s in sources),
            )
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def kill(folder: Path, points: int, seed: int) -> dict[str, Any]:
    """Kill before and after (or in the middle of) steps; then a second time while resuming."""
    audio, begun, reference = prepare(folder)
    n = count_steps(folder, begun, audio)
    every = [(step, torn) for step in range(1, n + 1) for torn in (False, True)]
    rng = random.Random(seed)
    chosen = every if points >= len(every) else sorted(rng.sample(every, points))
    wrong, killed, log = [], 0, folder / "log"
    for step, torn in chosen:
        store = fresh(folder, begun) / "emb.h5"
        log.write_text("")
        killed += killed_run(store, audio, step, torn, log)
        killed_run(store, audio, rng.randint(1, n), rng.random() < 0.5, log)
        wrong += [
            f"step {step}{' torn' * torn}: {w}" for w in check(store, audio, log.read_text().split("\n"), reference)
        ]
    return {"steps": n, "points": len(chosen), "killed": killed, "wrong": wrong}


# -- a full disk -----------------------------------------------------------------------------------


def full(folder: Path, points: int, seed: int) -> dict[str, Any]:
    """Let every step from the n-th on fail for want of space (deleting works), then free it and go on."""
    audio, begun, reference = prepare(folder)
    n = count_steps(folder, begun, audio)
    chosen = range(1, n + 1) if points >= n else sorted(random.Random(seed).sample(range(1, n + 1), points))
    wrong, refused = [], 0
    for step in chosen:
        store = fresh(folder, begun) / "emb.h5"
        reported: list[str] = []
        refused += disk_full_run(store, audio, step, reported, wrong)
        wrong += [f"step {step}: {w}" for w in check(store, audio, reported, reference)]
    return {"steps": n, "points": len(chosen), "refused": refused, "wrong": wrong}


def disk_full_run(store: Path, audio: Path, step: int, reported: list[str], wrong: list[str]) -> bool:
    def at(n: int, name: str, do: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        if n >= step and name in ("open", "pwrite", "mkdir", "posix_fallocate"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return do(*args)

    try:
        with Steps(at):
            fixtures.extract(
                store, fixtures.load_manifest(audio), report=lambda sources: reported.extend(s.uri for s in sources)
            )
    except StoreError as error:
        if "No space left" not in str(error):
            wrong.append(f"step {step}: unclear message: {error}")
        return True
    except Exception as error:
        wrong.append(f"step {step}: {type(error).__name__}: {error}")
    return False


# -- a power cut -----------------------------------------------------------------------------------


class Journal:
    """What a disk may hold after a power cut: file pages since the last fsync, and names since the last
    fsync of their folder, may be lost, each for itself."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.events: list[tuple[Any, ...]] = []
        self._files: dict[int, int] = {}  # inode number, which a disk uses again, to our number

    def at(self, n: int, name: str, do: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        moved = os.stat(args[0]).st_ino if name == "replace" else 0
        result = do(*args)
        if name == "open":
            inode = os.fstat(result).st_ino
            self._files[inode] = n
            self.events.append(("create", n, self._where(args[0])))
        elif name == "pwrite":
            self.events.append(("write", self._file(args[0]), bytes(args[1][:result]), args[2]))
        elif name in ("ftruncate", "posix_fallocate"):
            self.events.append((name, self._file(args[0]), args[-1]))
        elif name == "fsync":
            place = os.readlink(f"/proc/self/fd/{args[0]}")
            is_folder = os.path.isdir(place)
            self.events.append(("sync folder", self._where(place)) if is_folder else ("sync", self._file(args[0])))
        elif name == "replace":
            self.events.append(("rename", self._files[moved], self._where(args[0]), self._where(args[1])))
        else:
            self.events.append((name, self._where(args[0])))
        return result

    def _where(self, path: Any) -> str:
        return os.path.relpath(path, self.base)

    def _file(self, handle: int) -> int:
        return self._files[os.fstat(handle).st_ino]

    def disk_after(self, k: int, target: Path, before: Path, rng: random.Random | None) -> None:
        """Write what the disk holds after event k: the least possible, or (with ``rng``) a random state."""
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(before, target)
        events = self.events[:k]
        names: dict[str, int] = {}
        for i, event in enumerate(events):
            if event[0] in ("create", "rename", "unlink", "mkdir", "rmdir") and self._kept(events, i, rng):
                self._apply(event, target, names)
        data = self._data(events, rng)
        for name, file in names.items():
            if (target / name).is_file():
                (target / name).write_bytes(data[file])

    def _kept(self, events: list[tuple[Any, ...]], i: int, rng: random.Random | None) -> bool:
        folder = os.path.dirname(events[i][-1]) or "."
        synced = any(event[0] == "sync folder" and event[1] == folder for event in events[i:])
        return synced or (rng is not None and rng.random() < 0.5)

    @staticmethod
    def _apply(event: tuple[Any, ...], target: Path, names: dict[str, int]) -> None:
        kind, place = event[0], target / event[-1]
        if kind in ("create", "rename"):
            if place.parent.is_dir():
                place.touch()
                names[event[-1]] = event[1]
            if kind == "rename":
                (target / event[2]).unlink(missing_ok=True)
        elif kind == "mkdir":
            place.mkdir(exist_ok=True)
        elif kind == "rmdir":
            shutil.rmtree(place, ignore_errors=True)
        else:
            place.unlink(missing_ok=True)

    @staticmethod
    def _data(events: list[tuple[Any, ...]], rng: random.Random | None) -> dict[int, bytes]:
        now: dict[int, bytearray] = {}
        safe: dict[int, bytes] = {}
        for event in events:
            if event[0] == "create":
                now[event[1]], safe[event[1]] = bytearray(), b""
            elif event[0] == "write":
                content = now[event[1]]
                content.extend(bytes(max(0, event[3] + len(event[2]) - len(content))))
                content[event[3] : event[3] + len(event[2])] = event[2]
            elif event[0] in ("ftruncate", "posix_fallocate"):
                content = now[event[1]]
                content.extend(bytes(max(0, event[2] - len(content))))
                if event[0] == "ftruncate":
                    del content[event[2] :]
            elif event[0] == "sync":
                safe[event[1]] = bytes(now[event[1]])
        if rng is None:
            return safe
        return {inode: bytes(content) if rng.random() < 0.3 else safe[inode] for inode, content in now.items()}


def power(folder: Path, points: int, seed: int) -> dict[str, Any]:
    """Cut the power after every step; the disk keeps what was synced, and of the rest none or some."""
    audio, begun, reference = prepare(folder)
    work = folder / "work"
    shutil.copytree(begun, work)
    journal = Journal(work)
    with Steps(journal.at):
        fixtures.extract(
            work / "emb.h5",
            fixtures.load_manifest(audio),
            report=lambda sources: journal.events.append(("report", [s.uri for s in sources])),
        )
    every = [(k, luck) for k in range(len(journal.events) + 1) for luck in (None, 1, 2)]
    chosen = every if points >= len(every) else sorted(random.Random(seed).sample(every, points), key=str)
    wrong = []
    for k, luck in chosen:
        trial = folder / "trial"
        journal.disk_after(k, trial, begun, None if luck is None else random.Random(f"{seed} {k} {luck}"))
        reported = [uri for event in journal.events[:k] if event[0] == "report" for uri in event[1]]
        wrong += [f"event {k} luck {luck}: {w}" for w in check(trial / "emb.h5", audio, reported, reference)]
    return {"steps": len(journal.events), "points": len(chosen), "wrong": wrong}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("fault", choices=["kill", "full", "power"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--points", type=int, default=10**9)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    json.dump({"kill": kill, "full": full, "power": power}[args.fault](args.folder, args.points, args.seed), sys.stdout)


if __name__ == "__main__":
    main()
