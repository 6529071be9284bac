"""Killed at any moment and run again: nothing is fetched twice, nothing half-written is visible."""

import json
import os
import signal
import threading
import time

import numpy as np
import pytest
import soundfile

from embedx.download.ledger import Ledger, read_journal
from embedx.errors import ManifestError, StoreError
from embedx.manifest import read_manifest

pytestmark = [pytest.mark.download, pytest.mark.kill]

# The real command, dying by SIGKILL at a named moment of the third clip.
KILLED = """
import os, signal, sys
import embedx.cli as cli
import embedx.download.ledger as ledger

stage, count = os.environ["DIE_AT"], [0]


def dying(real, name, after):
    def call(*args, **kwargs):
        count[0] += name == stage
        if name == stage and count[0] == 3 and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        done = real(*args, **kwargs)
        if name == stage and count[0] == 3 and after:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    return call


ledger.write_flac = dying(ledger.write_flac, "write", after=False)
ledger.hash_file = dying(ledger.hash_file, "written", after=False)
ledger.sync_folder = dying(ledger.sync_folder, "renamed", after=True)
ledger.Journal.note = dying(ledger.Journal.note, "journaled", after=True)
ledger.os.fsync = dying(ledger.os.fsync, "synced", after=True)
sys.exit(cli.main(["download", *sys.argv[1:]]))
"""


def clips(site, files, write_csv, n=5):
    urls = [site.add(f"/{i}.flac", file=files["flac"]) for i in range(n)]
    return write_csv([(url, "ab"[i % 2]) for i, url in enumerate(urls)])


def media_requests(site):
    """Paths of which media was fetched, one entry a fetch."""
    return [one.path for one in site.seen if one.range == "bytes=0-65535"]


@pytest.mark.parametrize("stage", ["write", "written", "renamed", "journaled", "synced"])
def test_killed_while_a_clip_is_kept(stage, site, files, write_csv, tmp_path, embedx_download):
    csv, out = clips(site, files, write_csv), tmp_path / "out"
    words = [csv, out, "--seconds", "2", "--allow-private", "--jobs", "1"]
    killed = embedx_download(*words, code=KILLED, env={**os.environ, "DIE_AT": stage})
    assert killed.returncode == -signal.SIGKILL
    for path in (out / "audio").glob("*.flac"):
        assert len(soundfile.read(path)[0]) == 32_000
    there = {path.stem for path in (out / "audio").glob("*.flac")}
    n_before = len(site.seen)
    done = embedx_download(*words)
    assert done.returncode == 0, done.stderr
    fetched_again = {one.path for one in site.seen[n_before:]}
    assert len(fetched_again) == 5 - len(there)
    assert_whole(out, 5)
    n_before = len(site.seen)
    assert embedx_download(*words).returncode == 0
    assert len(site.seen) == n_before


@pytest.mark.parametrize("where", ["page", "media"])
def test_killed_while_fetching(where, site, files, write_csv, tmp_path, embedx_download):
    csv, out = clips(site, files, write_csv), tmp_path / "out"
    if where == "page":
        site.routes["/3.flac"].hang = True
    else:
        site.routes["/3.flac"].slowly = True
    words = [csv, out, "--seconds", "2", "--allow-private", "--jobs", "1"]
    process = embedx_download(*words, start=True)
    wait_for(lambda: site.requests("/3.flac"), process)
    time.sleep(0.3)
    process.kill()
    process.communicate()
    site.routes["/3.flac"].hang = site.routes["/3.flac"].slowly = False
    there = {entry["url"] for entry in read_journal(out / "journal.jsonl").values()}
    n_before = len(site.seen)
    assert embedx_download(*words).returncode == 0
    again = {f"http://{site.host}{one.path}" for one in site.seen[n_before:]}
    assert not again & there
    assert_whole(out, 5)


def test_killed_at_random_moments(site, files, write_csv, tmp_path, embedx_download):
    """Many kills in a row, then one quiet run: every clip once, none lost."""
    csv, out = clips(site, files, write_csv, n=12), tmp_path / "out"
    words = [csv, out, "--seconds", "2", "--allow-private", "--jobs", "3"]
    rng = np.random.default_rng(0)
    for _ in range(4):
        n_before = len(site.seen)
        process = embedx_download(*words, start=True)
        while len(site.seen) == n_before and process.poll() is None:
            time.sleep(0.01)
        time.sleep(float(rng.uniform(0.0, 0.4)))
        process.kill()
        process.communicate()
        for path in (out / "audio").glob("*.flac"):
            assert len(soundfile.read(path)[0]) == 32_000
    done = embedx_download(*words)
    assert done.returncode == 0, done.stderr
    assert_whole(out, 12)


def wait_for(condition, process, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def assert_whole(out, n):
    manifest = read_manifest(out / "manifest.csv")
    assert len(manifest) == n
    assert {source.label for source in manifest} == {"a", "b"}
    assert len(list((out / "audio").iterdir())) == n
    assert json.loads((out / "summary.json").read_text())["status"]["ok"]


def test_interrupted_by_the_reader(site, files, write_csv, tmp_path, embedx_download):
    """Ctrl-C: exit code 130, soon, with the tables of what is there."""
    csv, out = clips(site, files, write_csv), tmp_path / "out"
    site.routes["/3.flac"].slowly = True
    process = embedx_download(csv, out, "--seconds", "2", "--allow-private", "--jobs", "1", start=True)
    wait_for(lambda: any(one.n_bytes for one in site.requests("/3.flac")), process)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - began < 10
    assert "interrupted" in stderr
    n_kept = len(read_journal(out / "journal.jsonl"))
    text = (out / "manifest.csv").read_text()
    assert text.count("\n") == n_kept + 1


def test_one_writer_at_a_time(tmp_path):
    with Ledger(tmp_path / "out"), pytest.raises(ManifestError, match="another embedx download"):
        Ledger(tmp_path / "out")
    with Ledger(tmp_path / "out"):
        pass


def test_a_torn_line_is_ignored_and_written_past(tmp_path):
    with Ledger(tmp_path / "out") as ledger:
        ledger.keep("0" * 16, np.zeros(160, np.float32), {"label": "a"})
    journal = tmp_path / "out" / "journal.jsonl"
    with open(journal, "a") as stream:
        stream.write('{"key": "1111", "stat')
    with Ledger(tmp_path / "out") as ledger:
        assert list(ledger.entries) == ["0" * 16]
        ledger.note({"key": "2" * 16, "status": "unavailable"})
    assert list(read_journal(journal)) == ["0" * 16, "2" * 16]


def test_a_clip_that_was_changed_is_fetched_again(site, files, write_csv, run_job):
    csv = clips(site, files, write_csv, n=1)
    report, _ = run_job(csv)
    path = next((report.output / "audio").iterdir())
    path.write_bytes(path.read_bytes()[:-100])
    n_before = len(site.seen)
    report, _ = run_job(csv)
    assert (report.n_new, report.n_ok) == (1, 1)
    assert len(site.seen) > n_before


def test_a_full_disk_is_said_plainly(tmp_path, monkeypatch):
    import embedx.download.ledger as room

    def full(*words, **facts):
        raise OSError(28, "No space left on device")

    with Ledger(tmp_path / "out") as ledger:
        monkeypatch.setattr(room, "write_flac", full)
        with pytest.raises(StoreError, match=r"No space left on device.*run again"):
            ledger.keep("0" * 16, np.zeros(160, np.float32), {})


def test_permanent_failures_are_asked_again_only_on_request(site, files, write_csv, run_job):
    csv = write_csv([(site.add("/a.mp3", always=404), "a")])
    run_job(csv)
    n_before = len(site.seen)
    site.add("/a.mp3", file=files["mp3"])
    report, _ = run_job(csv)
    assert (len(site.seen), report.n_ok) == (n_before, 0)
    report, _ = run_job(csv, retry_status=("unavailable",))
    assert report.n_ok == 1


def test_two_sections_are_two_files(site, files, write_csv, run_job):
    url = site.add("/a.flac", file=files["flac"])
    csv = write_csv([(url, "a", "1", "3"), (url, "a", "20", "22")], header=("link", "label", "start", "stop"))
    report, entries = run_job(csv)
    assert report.n_ok == 2
    assert [entries[row]["start"] for row in (2, 3)] == [1.0, 20.0]
    first, second = (soundfile.read(report.output / entries[row]["file"])[0] for row in (2, 3))
    assert len(first) == len(second) == 32_000
    assert not np.array_equal(first, second)


def test_a_repeated_link_is_fetched_once(site, files, write_csv, run_job):
    url, other = (site.add(path, file=files["flac"]) for path in ("/a.flac", "/b.flac"))
    csv = write_csv([(url, "a"), (f"{url}#x", "a"), (other, "a"), (other, "b")])
    report, _ = run_job(csv)
    assert (
        len([one for one in site.requests("/a.flac") if one.range == "bytes=0-65535"]) == 2
    )  # what it is, its first bytes
    assert not site.requests("/b.flac")
    assert report.table == {"ok": {"a": 1}, "label_conflict": {"a": 1}}
    assert "row 4 says 'a', row 5 says 'b'" in (report.output / "failures.csv").read_text()


def test_workers_do_not_mix_clips(site, files, media, tmp_path, write_csv, run_job):
    """Several hosts' worth of threads, one journal: every file holds its own sound."""
    rows = []
    for i in range(8):
        path = tmp_path / f"{i}.flac"
        soundfile.write(path, np.full(48_000, (i + 1) / 20, np.float32), 16_000)
        rows.append((str(path), "ab"[i % 2]))
    before = threading.active_count()
    report, entries = run_job(write_csv(rows), jobs=8, seconds=1.0)
    assert report.n_ok == 8
    for i in range(8):
        samples, _ = soundfile.read(report.output / entries[i + 2]["file"])
        assert np.allclose(samples, (i + 1) / 20, atol=1e-3)
    assert threading.active_count() <= before
