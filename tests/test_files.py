"""What is replaced is replaced whole: an error, a kill or a full disk leaves the old content."""

import os
import signal
import subprocess
import sys

import pytest

from embedx.files import replace_file, replace_folder


def test_an_error_leaves_the_old_content_and_no_draft(tmp_path):
    place = tmp_path / "rows.csv"
    place.write_text("old")

    def fail():
        with replace_file(place) as file:
            file.write("half of the ne")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert place.read_text() == "old"
    assert os.listdir(tmp_path) == ["rows.csv"]


def test_a_symbolic_link_stays_one_and_permissions_stay(tmp_path):
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    real.write_text("old")
    real.chmod(0o600)
    link.symlink_to(real)
    with replace_file(link) as file:
        file.write("new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert real.stat().st_mode & 0o777 == 0o600


def test_a_device_is_written_to():
    with replace_file("/dev/null") as file:
        file.write("gone")
    assert not os.path.isfile("/dev/null")


def test_a_limit_on_file_size_leaves_the_old_content(tmp_path):
    place = tmp_path / "page.html"
    place.write_text("old")
    code = (
        "import resource, signal, sys; from embedx.files import replace_file\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "with replace_file(sys.argv[1]) as file: file.write('x' * 100_000)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(place)], capture_output=True, check=False)
    assert done.returncode == 1
    assert place.read_text() == "old"


def make_folder(place, content):
    place.mkdir()
    (place / "a.txt").write_text(content)
    return place


def test_a_folder_takes_the_place_of_another(tmp_path):
    folder = make_folder(tmp_path / "model", "old")
    replace_folder(make_folder(tmp_path / "draft", "new"), folder)
    assert (folder / "a.txt").read_text() == "new"
    assert os.listdir(tmp_path) == ["model"]
    replace_folder(make_folder(tmp_path / "draft", "first"), tmp_path / "other")
    assert (tmp_path / "other" / "a.txt").read_text() == "first"


@pytest.mark.kill
def test_readers_find_a_whole_folder_at_every_moment(tmp_path):
    folder = make_folder(tmp_path / "model", "0" * 10_000)
    code = (
        "import itertools, pathlib, sys; from embedx.files import replace_folder\n"
        "root = pathlib.Path(sys.argv[1])\n"
        "for i in itertools.count():\n"
        "    draft = root / f'draft{i}'; draft.mkdir()\n"
        "    (draft / 'a.txt').write_text(str(i % 10) * 10_000)\n"
        "    replace_folder(draft, root / 'model')\n"
        "    print(i, flush=True)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        for _ in range(50):
            assert writer.stdout.readline()
            handle = os.open(folder, os.O_RDONLY)  # whichever it is now
            os.close(handle)
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
    content = (folder / "a.txt").read_text()
    assert len(content) == 10_000
    assert len(set(content)) == 1
