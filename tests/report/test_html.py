"""The page holds together without a browser: escaped, offline, small."""

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from embedx.audio.opus import encode_opus
from embedx.encoders.short_names import KNOWN
from embedx.errors import ParameterError
from embedx.report.clip_predictions import choose_clips
from embedx.report.html import render_html, write_html
from embedx.report.players import make_players
from embedx.report.projection import project
from embedx.report.tables import render_markdown, render_predictions, render_text


class Elements(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def page(hostile):
    comparison, dataset = hostile
    findings = [{"title": "<b>x</b>", "level": "bad", "text": "</script>", "items": ["<i>"]}]
    return render_html(comparison, dataset, findings=findings, page_folder=Path(dataset.root) / "results")


def read_data(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_strangers_words_never_become_elements(page):
    found = Elements(page).found
    assert not [attrs for tag, attrs in found if any(name.startswith("on") for name in attrs)]
    assert not [tag for tag, _ in found if tag in ("img", "b", "u")]
    assert [tag for tag, _ in found].count("script") == 2
    data = read_data(page)
    assert "</script><img src=x onerror=window.pwned=1>" in data["classes"]
    assert data["findings"][0]["text"] == "</script>"


def test_nothing_is_loaded_from_anywhere(page):
    assert not re.findall(r'(?:src|href)="(?!#)[^"]*"', page.split('id="data"')[0])
    assert "default-src 'none'" in page
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", page)


def test_many_clips_are_sampled_and_said_and_the_tables_have_all(hostile, monkeypatch):
    comparison, dataset = hostile
    monkeypatch.setattr("embedx.report.clip_predictions.MOST_CLIPS", 30)
    data = read_data(render_html(comparison, dataset))
    assert (len(data["clips"]), data["n_clips"]) == (30, 36)
    assert {clip["label"] for clip in data["clips"]} == {0, 1, 2}
    assert all(len(one["xy"]) == 30 for one in data["map"])
    assert all(len(one["predicted"]) == len(one["confidence"]) == 30 for one in data["predictions"].values())
    assert all(one["clip"] < 30 for one in data["mislabelled"])
    n_tested = sum(int((~np.isnan(once[:, 0])).sum()) for proba in comparison.proba.values() for once in proba)
    assert render_predictions(comparison).count("\n") == 1 + n_tested


def test_wanted_clips_are_in_the_sample_and_small_classes_whole():
    truth = np.array([0] * 9_000 + [1] * 5 + [2] * 9_000)
    shown = choose_clips(truth, [8_999, 17, 17_000])
    assert len(shown) == 3_000
    assert {17, 8_999, 17_000, *range(9_000, 9_005)} <= set(shown.tolist())
    assert abs(int((truth[shown] == 0).sum()) - int((truth[shown] == 2).sum())) < 10


def test_a_page_of_100_000_clips_leaves_room_for_the_players(hostile):
    comparison, n = hostile[0], 100_000
    times = n // 36 + 1
    named = [replace(source, uri=f"recordings/{i % 36}/clip.wav") for i, source in enumerate(comparison.sources)]
    large = replace(
        comparison,
        sources=tuple((named * times)[:n]),
        groups=(comparison.groups * times)[:n],
        proba={name: np.tile(proba, (1, times, 1))[:, :n] for name, proba in comparison.proba.items()},
        fold_of=np.tile(comparison.fold_of, (1, times))[:, :n],
    )
    page = render_html(large)
    assert read_data(page)["n_clips"] == n
    assert len(page) < 1_500_000  # and 4.5 MB of sound


def test_the_page_is_written_in_pieces(hostile):
    class Pieces(list):
        write, writelines = list.append, list.extend

    pieces = Pieces()
    write_html(hostile[0], None, pieces)
    assert "".join(pieces) == render_html(hostile[0])
    assert max(map(len, pieces[1:-1])) < 10_000


def test_encoders_are_drawn_against_what_is_known_of_them(hostile, several_encoders):
    comparison, names = several_encoders
    drawn = read_data(render_html(comparison))["encoders"]
    assert [point["store"] for point in drawn["parameters"]] == names == [line[0] for line in drawn["table"][1:]]
    assert [point["x"] for point in drawn["parameters"]] == [KNOWN[n].n_parameters for n in ("ast", "w2v-bert", "clap")]
    hours = comparison.facts["audio_seconds"] / 3600
    assert [point["x"] for point in drawn["seconds"]] == pytest.approx([3.6 / hours, 7.2 / hours, 10.8 / hours])
    for point in drawn["seconds"]:
        row = comparison[f"{point['store']}:knn"]
        assert (point["accuracy"], tuple(point["interval"])) == (row.scores["accuracy"], row.intervals["accuracy"])
    assert drawn["table"][2][3:] == ["7.2", "2.0", "580.5 M"]
    assert "Encoders, with k nearest" in render_text(comparison)
    assert "\\<img src=x" in render_markdown(comparison)
    facts = {**comparison.facts, "parameters": dict.fromkeys(names), "embedding_seconds": None}
    unknown = read_data(render_html(replace(comparison, facts=facts)))["encoders"]
    assert (unknown["parameters"], unknown["seconds"]) == ([], [])
    assert unknown["table"][1][3:] == ["-", "1.0", "-"]
    assert read_data(render_html(hostile[0]))["encoders"] == {}


def test_precision_stands_beside_recall(page):
    one = read_data(page)["rows"][2]
    counts = np.array(one["confusion"])
    for i, name in enumerate(one["recall"]):
        assert one["precision"][name] == pytest.approx(counts[i, i] / counts[:, i].sum())


def test_long_lists_of_findings_are_cut_and_counted(hostile):
    finding = {"title": "T", "level": "note", "text": "", "items": [str(i) for i in range(10_000)]}
    (found,) = read_data(render_html(hostile[0], findings=[finding]))["findings"]
    assert len(found["items"]) == 201
    assert found["items"][-1].startswith("and 9,800 more")


def test_small_clips_lie_in_the_page_and_long_ones_are_linked(page):
    data = read_data(page)
    played = [clip for clip in data["clips"] if clip["audio"]]
    linked = [clip for clip in data["clips"] if clip["href"]]
    assert len(played) == 33
    assert base64.b64decode(played[0]["audio"])[:4] == b"OggS"
    assert len(linked) == 3
    assert all(clip["href"].startswith("./../%3Cimg") for clip in linked)
    assert linked[0]["why"] == "long, so linked"


def test_the_budget_holds_for_400_clips_of_five_seconds(hostile, tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.2, 5 * 16_000).astype(np.float32)
    from embedx.testing import write_wav

    _, dataset = hostile
    for i in range(400):
        path = tmp_path / f"{i}.wav"
        if i:
            path.hardlink_to(tmp_path / "0.wav")
        else:
            write_wav(str(path), noise)
    sources = {i: replace(dataset.sources[0], uri=f"{i}.wav") for i in range(400)}
    folders = {"root": tmp_path, "page_folder": tmp_path}
    players = make_players(sources, dict.fromkeys(sources, 5.0), recipe=dataset.recipe, **folders)
    assert sum(len(player.audio or "") for player in players.values()) < 4_600_000
    assert players[0].audio
    assert all(player.audio or player.href for player in players.values())


def test_missing_audio_is_said(hostile):
    comparison, dataset = hostile
    data = read_data(render_html(comparison, replace(dataset, root="/nowhere")))
    assert {clip["why"] for clip in data["clips"]} == {"the audio was not found when this report was made"}


def test_without_the_data_set_there_is_neither_map_nor_player(hostile):
    data = read_data(render_html(hostile[0]))
    assert data["map"] == []
    assert "audio" not in data["clips"][0]


def test_projections_are_finite_and_of_every_clip(hostile):
    maps = project(hostile[1])
    assert {"PCA", "t-SNE"} <= set(maps)
    assert all(xy.shape == (36, 2) and np.isfinite(xy).all() for xy in maps.values())
    alike = replace(hostile[1], X=np.zeros_like(hostile[1].X))
    assert np.isfinite(project(alike)["PCA"]).all()
    assert project(hostile[1].take([0, 1, 2])).keys() == {"PCA"}


def test_umap_is_there_where_it_is_installed_and_repeats(hostile):
    pytest.importorskip("umap", reason="needs umap-learn (pip install 'embedx[umap]')")
    first, again = project(hostile[1]), project(hostile[1])
    assert first["UMAP"].shape == (36, 2)
    assert np.array_equal(first["UMAP"], again["UMAP"])


def test_opus_is_small_and_sounds_the_same(tmp_path):
    from embedx.audio.decode import decode
    from embedx.testing import make_tone

    tone = make_tone(440.0, seconds=5.0)
    (tmp_path / "a.ogg").write_bytes(encode_opus(tone))
    back = decode(tmp_path / "a.ogg")
    assert (tmp_path / "a.ogg").stat().st_size < 16_000
    assert len(back) == pytest.approx(len(tone), abs=400)
    peak = np.abs(np.fft.rfft(back)).argmax() * 16_000 / len(back)
    assert peak == pytest.approx(440, abs=2)
    with pytest.raises(ParameterError, match="Opus takes"):
        encode_opus(tone, sample_rate=44_100)
    with pytest.raises(ParameterError, match="0 samples"):
        encode_opus(tone[:0])


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


WHOLE = np.eye(3)
DEUTAN = ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881))
PROTAN = ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998))
TO_LMS = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883, 0.2817, 0.63),
)
TO_LAB = (
    (0.2104542553, 0.793617785, -0.0040720468),
    (1.9779984951, -2.428592205, 0.4505937099),
    (0.0259, 0.7828, -0.8087),
)


def seen(colours, sight):
    """OKLab coordinates (Ottosson 2020) of colours as eyes with this deficiency see them (Machado et al. 2009)."""
    srgb = np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in colours])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return np.cbrt(np.clip(linear @ np.array(sight).T, 0, 1) @ np.array(TO_LMS).T) @ np.array(TO_LAB).T


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_classes_are_told_apart_by_the_colour_blind(page, theme):
    block = re.findall(r":root[^{]*\{([^}]*)\}", page)[theme]
    found = [re.search(rf"--c{i}:(#\w+)", block)[1] for i in range(10)]
    found = [colour if len(colour) == 7 else "#" + "".join(2 * c for c in colour[1:]) for colour in found]
    for sight in (WHOLE, DEUTAN, PROTAN):
        place = seen(found, sight)
        apart = np.linalg.norm(place[:, None] - place, axis=-1) + np.eye(10)
        assert apart.min() > (0.15 if sight is WHOLE else 0.1)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_and_marks_stand_out(page, theme):
    blocks = re.findall(r":root[^{]*\{([^}]*)\}", page)[:2]
    colours = {}
    for block in blocks[: theme + 1]:
        for name, value in re.findall(r"--([\w-]+):\s*(#[0-9a-fA-F]{3,6})", block):
            colours[name] = value if len(value) == 7 else "#" + "".join(2 * c for c in value[1:])
    for ink in ("ink", "soft", "accent", "good", "bad"):
        assert contrast(colours[ink], colours["card"]) >= 4.5, ink
    assert contrast(colours["soft"], colours["grid"]) >= 4.5
    assert contrast(colours["accent"], colours["accent-soft"]) >= 4.5
    assert contrast(colours["warn-ink"], colours["warn-bg"]) >= 4.5
    assert contrast(colours["top-soft"], colours["top"]) >= 4.5
    assert all(contrast(colours[f"c{i}"], colours["card"]) >= 3 for i in range(10))
