"""The command as people use it: look first, fetch, exit codes, progress, and what extract makes of it."""

import json
from collections import Counter

import pytest

from embedx.download.plan import plan_links
from embedx.download.result_tables import Division
from embedx.download.row_sampling import draw_order
from embedx.manifest import read_manifest

pytestmark = pytest.mark.download


def test_check_tells_the_true_counts(shared_data, embedx_download):
    path = shared_data / "youtube" / "youtube.csv"
    if not path.exists():
        pytest.skip("needs ../shared/data/youtube, which only the developers have")
    done = embedx_download(path, "--check")
    assert done.returncode == 3
    for text in (
        "3,599 rows",
        "1,497 damaged",
        "1,434 too_short",
        "63 spreadsheet_error",
        "2,102 whole",
        "2,040 unique",
    ):
        assert text in done.stdout
    for text in ("62 repeats", "5 conflicts", "str.strip()", "JavaScript runtime"):
        assert text in done.stdout
    numbers = {
        line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.startswith("  ") and line.split()
    }
    assert numbers["travel"] == ["1,156", "480", "662", "658"]
    assert numbers["art_music"] == ["947", "395", "521", "521"]


def test_check_requests_and_writes_nothing(site, files, write_csv, tmp_path, embedx_download):
    csv = write_csv([(site.add("/a.mp3", file=files["mp3"]), "a")])
    for flag in ("--check", "--dry-run"):
        done = embedx_download(csv, tmp_path / "out", flag, "--allow-private")
        assert done.returncode == 0, done.stderr
    assert not site.seen
    assert not (tmp_path / "out").exists()
    assert "a.mp3" in done.stdout


def test_without_the_option_this_machine_is_not_asked(site, files, write_csv, tmp_path, embedx_download):
    csv = write_csv([(site.add("/a.mp3", file=files["mp3"]), "a")])
    done = embedx_download(csv, tmp_path / "out")
    assert done.returncode == 3
    assert not site.seen
    assert "private_address" in (tmp_path / "out" / "failures.csv").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none.csv"], "none.csv"),
        (["links.csv"], "FOLDER"),
        (["links.csv", "out", "--url-column", "lnk"], "did you mean 'link'"),
        (["links.csv", "out", "--seconds", "-1"], "--seconds"),
        (["links.csv", "out", "--start", "nan"], "--start"),
        (["links.csv", "out", "--valid-fraction", "1"], "--valid-fraction"),
        (["links.csv", "out", "--per-class", "0"], "--per-class"),
        (["links.csv", "out", "--retry-status", "unavailible"], "did you mean 'unavailable'"),
        (["links.csv", "out", "--max-bytes", "12X"], "--max-bytes"),
        (["links.csv", "out", "--pause-seconds", "9-3"], "--pause-seconds"),
        (["links.csv", "links.csv"], "the output links.csv is what is read"),
        (["links.csv", "out", "--valid-fraction", "0.6", "--test-fraction", "0.6"], "fraction"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(words, said, write_csv, tmp_path, embedx_download):
    write_csv([("dQw4w9WgXcQ", "a")])
    done = embedx_download(*words, "--allow-private", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout


def test_a_mixed_list(site, files, write_csv, tmp_path, embedx_download):
    """Some come, some do not: exit code 3, a table of statuses, and what to do about each."""
    rows = [(site.add("/a.mp3", file=files["mp3"]), "a"), (site.add("/b.webm", file=files["webm"]), "b")]
    rows += [(site.add("/gone.mp3", always=404), "a"), ("#NAME?", "b"), (files["wav"], "b")]
    done = embedx_download(
        write_csv(rows), tmp_path / "out", "--allow-private", "--seconds", "2", "--valid-fraction", "0.5"
    )
    assert done.returncode == 3, done.stderr
    for text in ("unavailable", "invalid_url", "it is gone: nothing can be done", "3 new clips"):
        assert text in done.stdout
    assert "download: 4/4 clips" in done.stderr
    manifest = read_manifest(tmp_path / "out" / "manifest.csv")
    assert manifest.columns == {"path": "path", "label": "label", "group": "group", "split": "split"}
    assert Counter(source.label for source in manifest) == {"a": 1, "b": 2}
    assert {source.split for source in manifest} == {"train", "valid"}
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["status"]["ok"] == {"a": 1, "b": 2}
    journal = (tmp_path / "out" / "journal.jsonl").read_text().splitlines()
    line = next(
        entry for entry in map(json.loads, journal) if entry["status"] == "ok" and entry["url"].startswith("http")
    )
    wanted = {"url", "id", "extractor", "label", "attempts", "error", "title", "uploader", "license", "source_duration"}
    wanted |= {
        "start",
        "seconds_asked",
        "seconds",
        "format",
        "codec",
        "bytes_fetched",
        "peak",
        "rms",
        "silent",
        "sha256",
    }
    assert wanted <= set(line)
    assert {"yt_dlp", "av"} <= set(line["versions"])


def test_a_blocked_host_is_exit_code_4(site, write_csv, tmp_path, embedx_download):
    rows = [(site.add(f"/{i}.mp3", always=403), "a") for i in range(12)]
    done = embedx_download(write_csv(rows), tmp_path / "out", "--allow-private", "--pause-seconds", "0")
    assert done.returncode == 4
    assert "was stopped (forbidden)" in done.stderr
    assert "not_tried" in done.stdout


def links_with_failures(site, files, write_csv, n=24):
    """Two classes; every third link of class a is gone."""
    rows = []
    for i in range(n):
        facts = {"always": 404} if i % 6 == 0 else {"file": files["flac"]}
        rows.append((site.add(f"/{i}.flac", **facts), "ab"[i % 2]))
    return write_csv(rows)


def test_per_class_ends_with_so_many_successes(site, files, write_csv, tmp_path, run_job):
    csv = links_with_failures(site, files, write_csv)
    report, _ = run_job(csv, per_class=6, seconds=1.0, jobs=4)
    assert report.table["ok"] == {"a": 6, "b": 6}
    assert report.is_complete
    assert "not_tried" not in report.table
    taken = {source.uri for source in read_manifest(report.output / "manifest.csv")}
    again, _ = run_job(csv, per_class=6, seconds=1.0, jobs=1, output=tmp_path / "again")
    assert {source.uri for source in read_manifest(again.output / "manifest.csv")} == taken
    n_tried = {
        label: sum(counts.get(label, 0) for word, counts in report.table.items() if word != "not_needed")
        for label in "ab"
    }
    order = draw_order(plan_links(csv, allow_private=True, seconds=1.0).requests)
    gone = {
        label: [site.routes["/" + request.url.rsplit("/", 1)[1]].always == 404 for request in order[label]]
        for label in "ab"
    }
    for label in "ab":  # the shortest beginning of the order that holds six successes
        prefix = gone[label][: n_tried[label]]
        assert prefix.count(False) == 6
        assert not prefix[-1]
    more, _ = run_job(csv, per_class=7, seconds=1.0)
    assert more.table["ok"] == {"a": 7, "b": 7}
    assert more.n_new == 2
    assert taken <= {source.uri for source in read_manifest(more.output / "manifest.csv")}


def test_per_class_with_too_few_links(site, files, write_csv, run_job):
    csv = links_with_failures(site, files, write_csv, n=8)
    report, _ = run_job(csv, per_class=4, seconds=1.0)
    assert report.table["ok"] == {"a": 2, "b": 4}
    assert not report.is_complete
    again, _ = run_job(csv, per_class=4, seconds=1.0)
    assert not again.is_complete


def test_a_class_without_any_whole_link_is_not_complete(site, files, write_csv, tmp_path, embedx_download):
    csv = write_csv([(site.add("/a.flac", file=files["flac"]), "a"), ("#NAME?", "b")])
    words = [csv, tmp_path / "out", "--allow-private", "--seconds", "1", "--per-class", "1"]
    assert embedx_download(*words).returncode == 3
    fine = write_csv([(site.add("/a.flac", file=files["flac"]), "a"), ("#NAME?", "a")], name="fine.csv")
    assert embedx_download(fine, *words[1:]).returncode == 0


def test_splits_and_groups(site, files, write_csv, run_job):
    urls = [site.add(f"/{i}.flac", file=files["flac"]) for i in range(10)]
    csv = write_csv([(url, "a") for url in urls])
    division = Division("video", valid_fraction=0.2, test_fraction=0.1, seed=1)
    report, _ = run_job(csv, seconds=1.0, clips_per_video=2, division=division)
    parts = {}
    counts = Counter()
    for source in read_manifest(report.output / "manifest.csv"):
        parts.setdefault(source.group, set()).add(source.split)
        counts[source.split] += 1
    assert all(len(names) == 1 for names in parts.values())
    assert counts == {"train": 14, "valid": 4, "test": 2}


def test_progress_says_what_happens(site, files, write_csv, run_job):
    said = []
    csv = write_csv([(site.add("/a.flac", file=files["flac"]), "a"), (site.add("/b.flac", always=404), "b")])
    run_job(csv, progress=lambda done, total, **facts: said.append((done, total, facts)))
    done, total, facts = said[-1]
    assert (done, total) == (2, 2)
    assert facts["a"] == "1/1"
    assert (facts["ok"], facts["unavailable"]) == (1, 1)
    assert "MB" in facts["fetched"]


def test_extract_reads_the_manifest_as_it_is(site, files, write_csv, tmp_path, embedx_download, run_embedx):
    rows = [(site.add(f"/{i}.flac", file=files["flac"]), "ab"[i % 2]) for i in range(4)]
    words = ["--allow-private", "--seconds", "2", "--start", "random", "--valid-fraction", "0.5"]
    assert embedx_download(write_csv(rows), tmp_path / "out", *words).returncode == 0
    done = run_embedx("extract", tmp_path / "out" / "manifest.csv", "-o", tmp_path / "emb.h5", "--encoder", "tiny")
    assert done.returncode == 0, done.stderr
