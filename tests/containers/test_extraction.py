"""Clips in containers are extracted as files are: the same rows, resumed, and what is bad costs itself alone."""

import os
import subprocess
import sys

import numpy as np
import pytest

from embedx import Model, extract_embeddings, load_embeddings
from embedx.audio.decode_pool import DecodePool
from embedx.audio.loader import ClipEnd, ClipRequest
from embedx.cli import main
from embedx.containers.clip_files import hash_clip
from embedx.manifest import read_manifest
from embedx.recipe import Resources

HERE = Resources(workers=1)
DIES = (
    "import os, embedx.audio.decode_worker as worker; whole = worker.load_clip;"
    "worker.load_clip = lambda request, **more: os._exit(9) if 'low3' in request.path else whole(request, **more);"
    "worker.main()"
)
KILLED = """
import os, signal, sys
import embedx.store.store
from embedx import extract_embeddings, read_manifest
embedx.store.store.COMMIT_CLIPS = 1
def progress(done, total, **facts):
    if done >= 64:
        os.kill(os.getpid(), signal.SIGKILL)
if __name__ == "__main__":
    extract_embeddings(read_manifest(sys.argv[1]), sys.argv[2], encoder="tiny", progress=progress)
"""


def rows_of(store, key=os.path.basename):
    """What a store holds of each clip, as bytes."""
    dataset = load_embeddings(store)
    values = zip(dataset.sources, dataset.X, dataset.control, dataset.hashes, dataset.seconds, strict=True)
    return {key(s.uri): (x.tobytes(), c.tobytes(), bytes(h), float(n), s.label) for s, x, c, h, n in values}


@pytest.fixture(scope="module")
def from_files(tmp_path_factory, clips):
    """The rows of the clips as files, by the name that they have in the containers."""
    folder = tmp_path_factory.mktemp("files")
    for (label, name), content in clips.items():
        (folder / label).mkdir(exist_ok=True)
        (folder / label / f"{label}{name}").write_bytes(content)
    extract_embeddings(read_manifest(folder), folder / "emb.h5", encoder="tiny", resources=HERE)
    return rows_of(folder / "emb.h5")


def test_rows_of_tar_archives_are_those_of_files(tmp_path, shards, from_files):
    assert main(["extract", f"{shards}/*.tar", "-o", f"{tmp_path}/emb.h5", "--encoder", "tiny"]) == 0
    assert rows_of(tmp_path / "emb.h5") == from_files
    report = extract_embeddings(read_manifest(shards), tmp_path / "emb.h5")
    assert (report.n_computed, report.n_done_before) == (0, 24)


def test_rows_of_parquet_files_are_those_of_files(tmp_path, clips, write_parquet, from_files):
    rows = [(content, f"{label}{name}", label) for (label, name), content in clips.items()]
    write_parquet(tmp_path / "a.parquet", rows, ["low", "middle", "high"], batch_size=5)
    manifest = read_manifest(tmp_path / "a.parquet")
    extract_embeddings(manifest, tmp_path / "emb.h5", encoder="tiny", resources=HERE)
    assert rows_of(tmp_path / "emb.h5") == from_files
    report = extract_embeddings(manifest, tmp_path / "emb.h5")
    assert (report.n_computed, report.n_done_before) == (0, 24)
    os.utime(tmp_path / "a.parquet")  # touched: the bytes are compared, and are the same
    assert extract_embeddings(manifest, tmp_path / "emb.h5").n_done_before == 24


def test_clips_are_taken_from_files_to_an_archive_without_computing(tmp_path, clips, pack_tar):
    manifest = read_manifest(_folder(tmp_path / "clips", clips))
    extract_embeddings(manifest, tmp_path / "emb.h5", encoder="tiny", resources=HERE)
    pack_tar(tmp_path / "clips" / "a.tar", [(f"{label}/{name}", clip) for (label, name), clip in clips.items()])
    moved = read_manifest(tmp_path / "clips" / "a.tar")
    report = extract_embeddings(moved, tmp_path / "emb.h5")
    assert (report.n_computed, report.n_done_before) == (0, 24)
    assert {source.label for source in moved} == {"high", "low", "middle"}


def _folder(place, clips):
    for (label, name), content in clips.items():
        (place / label).mkdir(exist_ok=True, parents=True)
        (place / label / name).write_bytes(content)
    return place


@pytest.mark.kill
def test_killed_half_way_the_rest_is_computed_and_the_rows_are_the_same(tmp_path, clips, pack_tar):
    short = next(iter(clips.values()))
    members = [(f"{i:03}.wav", short[:-2] + i.to_bytes(2, "little")) for i in range(130)]
    (tmp_path / "in").mkdir()
    for number, begin in enumerate((0, 50, 100)):
        pack_tar(tmp_path / "in" / f"{number}.tar", members[begin : begin + 50])
    (tmp_path / "killed.py").write_text(KILLED)
    command = [sys.executable, str(tmp_path / "killed.py"), str(tmp_path / "in"), str(tmp_path / "emb.h5")]
    assert subprocess.run(command, check=False, timeout=240).returncode == -9
    manifest = read_manifest(tmp_path / "in", label_column="")
    report = extract_embeddings(manifest, tmp_path / "emb.h5")
    assert report.n_done_before >= 64
    assert report.n_computed + report.n_done_before == 130
    extract_embeddings(manifest, tmp_path / "once.h5", encoder="tiny")
    assert rows_of(tmp_path / "emb.h5", str) == rows_of(tmp_path / "once.h5", str)


def test_a_bad_member_is_one_failed_row(tmp_path, clips, pack_tar):
    members = [(f"{label}{name}", content) for (label, name), content in list(clips.items())[:6]]
    members[2] = (members[2][0], members[2][1][:2_000])
    members[4] = (members[4][0], b"no audio, only words")
    manifest = read_manifest(pack_tar(tmp_path / "a.tar", members), label_column="")
    report = extract_embeddings(manifest, tmp_path / "emb.h5", encoder="tiny", resources=HERE)
    assert report.n_computed == 4
    assert sorted(failure.source.uri for failure in report.failures) == [f"a.tar/{members[i][0]}" for i in (2, 4)]
    assert {failure.reason for failure in report.failures} == {"decode"}
    assert "is cut off" in next(f.message for f in report.failures if f.source.uri.endswith(members[2][0]))


@pytest.mark.kill
def test_a_member_that_kills_its_decoder_is_one_failure(shards, monkeypatch):
    monkeypatch.setattr("embedx.audio.decode_pool._START", DIES)
    manifest = read_manifest(shards)
    requests = [
        ClipRequest(str(manifest.path_of(s)), 0.0, None, "start", None, 16_000, 16_000, 16_000, 0) for s in manifest
    ]
    with DecodePool(2) as pool:
        ends = {i: event for i, event in pool.load(requests) if isinstance(event, ClipEnd)}
    assert {os.path.basename(manifest[i].uri): end.reason for i, end in ends.items() if end.reason} == {
        "low3.wav": "worker_died"
    }


def test_a_replaced_archive_costs_what_changed(tmp_path, clips, pack_tar):
    members = [(f"{i}.wav", content) for i, content in enumerate(list(clips.values())[:5])]
    place = pack_tar(tmp_path / "a.tar", members)
    extract_embeddings(read_manifest(place, label_column=""), tmp_path / "emb.h5", encoder="tiny", resources=HERE)
    members[1] = ("1.wav", list(clips.values())[7])
    pack_tar(tmp_path / "new.tar", [*members[1:], ("9.wav", list(clips.values())[8])])
    os.replace(tmp_path / "new.tar", place)
    manifest = read_manifest(place, label_column="")
    report = extract_embeddings(manifest, tmp_path / "emb.h5", resources=HERE)
    assert (report.n_computed, report.n_done_before) == (2, 3)
    dataset = load_embeddings(tmp_path / "emb.h5")
    known = {source.uri: bytes(digest) for source, digest in zip(dataset.sources, dataset.hashes, strict=True)}
    assert all(known[source.uri] == hash_clip(manifest.path_of(source)) for source in manifest)


def test_an_archive_that_shrinks_after_the_list_was_made_costs_its_rows(tmp_path, clips, pack_tar):
    members = [(f"{i}.wav", content) for i, content in enumerate(list(clips.values())[:4])]
    place = pack_tar(tmp_path / "a.tar", members)
    manifest = read_manifest(place, label_column="")
    whole = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[: 512 + len(members[0][1]) + 2_000])
    report = extract_embeddings(manifest, tmp_path / "emb.h5", encoder="tiny", resources=HERE)
    assert report.n_computed == 1
    assert [failure.source.uri for failure in report.failures] == [f"a.tar/{i}.wav" for i in (1, 2, 3)]
    assert {failure.reason for failure in report.failures} <= {"decode", "missing"}


def test_a_model_is_learned_and_predicts_from_archives(tmp_path, shards, capsys):
    store, model = f"{tmp_path}/emb.h5", f"{tmp_path}/model"
    assert main(["extract", *(f"{shards}/{i:03}.tar" for i in range(3)), "-o", store, "--encoder", "tiny"]) == 0
    assert main(["fit", store, "--head", "logreg", "-o", model]) == 0
    capsys.readouterr()
    assert main(["predict", model, f"{shards}/000.tar"]) == 0
    told = capsys.readouterr().out.strip().split("\n")
    assert len(told) == 9
    assert all("000.tar/" in line for line in told[1:])
    member = f"{shards}/000.tar/high0.wav"
    assert main(["predict", model, member]) == 0
    of_members = Model.load(model).predict_proba([member, f"{shards}/001.tar/high1.wav"])
    assert np.isfinite(of_members).all()
    assert main(["search", store, member]) == 0
    assert main(["inspect", store, "-o", f"{tmp_path}/page.html"]) == 0
