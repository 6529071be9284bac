"""What only POSIX systems have is missed by nothing that has to work elsewhere; locks are the same by both doors."""

import io
import multiprocessing
import os
import subprocess
import sys
import tarfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from embedx.cli import COMMANDS
from embedx.file_locks import _lock_elsewhere, has_locks, lock_file

TESTS = Path(__file__).resolve().parent


def _whole_way(folder, answers):
    """Extract, fit and predict in this process, which `spawn` has started; runs where nothing of POSIX is there."""
    sys.path.insert(0, str(TESTS))
    from as_windows import hide

    hide()
    from embedx import load_embeddings
    from embedx.cli import main

    store, model, labels = (os.path.join(folder, name) for name in ("emb.h5", "model", "labels.csv"))
    answers.put(main(["extract", os.path.join(folder, "tones"), "-o", store, "--encoder", "tiny", "--quiet"]))
    answers.put(main(["fit", store, "--head", "logreg", "-o", model, "--verbose"]))
    answers.put(main(["predict", model, os.path.join(folder, "tones"), "--csv", labels, "--quiet"]))
    answers.put(np.asarray(load_embeddings(store).X))


def test_the_whole_way_needs_nothing_that_only_posix_systems_have(tone_folder, tmp_path):
    pytest.importorskip("portalocker", reason="needs portalocker")
    from embedx.cli import main

    (tmp_path / "tones").symlink_to(tone_folder)
    spawn = multiprocessing.get_context("spawn")
    answers = spawn.Queue()
    process = spawn.Process(target=_whole_way, args=(str(tmp_path), answers))
    process.start()
    codes = [answers.get(timeout=240) for _ in range(3)]
    embedded = answers.get(timeout=240)
    process.join()
    assert codes == [0, 0, 0]
    assert len((tmp_path / "labels.csv").read_text().splitlines()) == 25
    assert main(["extract", str(tmp_path / "tones"), "-o", str(tmp_path / "here.h5"), "--encoder", "tiny"]) == 0
    from embedx import load_embeddings

    np.testing.assert_allclose(embedded, load_embeddings(tmp_path / "here.h5").X, atol=2e-2)


def test_the_help_of_every_command_needs_no_posix_either():
    code = (
        f"import sys; sys.path.insert(0, {str(TESTS)!r}); import as_windows; as_windows.hide()\n"
        "import embedx.cli\n"
        f"for name in {list(COMMANDS)!r}: assert embedx.cli.main([name, '--help']) == 0\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_member_of_an_archive_is_read_without_posix(tmp_path):
    pytest.importorskip("portalocker", reason="needs portalocker")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        info = tarfile.TarInfo("key.wav")
        info.size = 4
        tar.addfile(info, io.BytesIO(b"\r\n\x1a\0"))
    code = (
        f"import sys; sys.path.insert(0, {str(TESTS)!r}); import as_windows; as_windows.hide()\n"
        "from embedx.containers.clip_files import open_clip, stat_clip\n"
        f"path = {(tmp_path / 'a.tar/key.wav').as_posix()!r}\n"
        "assert stat_clip(path).size == 4\n"
        "assert open_clip(path).read() == b'\\r\\n\\x1a\\0'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("by_portalocker", [False, True])
def test_a_lock_excludes_and_a_shared_one_shares(tmp_path, by_portalocker):
    if by_portalocker:
        pytest.importorskip("portalocker", reason="needs portalocker")

    def lock(handle, *, shared=False):
        take = partial(_lock_elsewhere, wait=False) if by_portalocker else partial(lock_file, wait=False)
        return take(handle, shared=shared)

    handles = [os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT) for _ in range(3)]
    assert lock(handles[0], shared=True)
    assert lock(handles[1], shared=True)
    assert not lock(handles[2])
    for handle in handles[:2]:
        os.close(handle)
    assert lock(handles[2])
    os.close(handles[2])
    assert has_locks(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
