"""A CSV of links is understood before the first request: damage, repeats, conflicts, draws and splits."""

from collections import Counter

import pytest

from embedx.download.id_repair import explains, is_stripped, repair_rows
from embedx.download.links import is_private_host, public_url, read_link
from embedx.download.plan import plan_links
from embedx.download.rate_limit import Hosts
from embedx.download.row_sampling import draw_order, plan_splits
from embedx.download.status import StatusError
from embedx.errors import ManifestError

GOOD = "dQw4w9WgXcQ"
WATCH = f"https://www.youtube.com/watch?v={GOOD}"

LINKS = {
    GOOD: WATCH,
    f"  {GOOD} ": WATCH,
    f"https://youtu.be/{GOOD}?t=10": WATCH,
    f"http://m.youtube.com/watch?list=x&v={GOOD}": WATCH,
    f"www.youtube.com/watch?v={GOOD}": WATCH,
    f"https://www.youtube.com/shorts/{GOOD}": WATCH,
    f"https://www.youtube-nocookie.com/embed/{GOOD}?rel=0": WATCH,
    "HTTPS://Example.ORG:443/a.mp3#t=3": "https://example.org/a.mp3",
    "http://example.org:8080/a.mp3?x=1": "http://example.org:8080/a.mp3?x=1",
    "https://www.youtube.com/@someone": "https://www.youtube.com/@someone",
}

DAMAGED = {
    "": "empty",
    "   ": "empty",
    "#NAME?": "spreadsheet_error",
    "#ref!": "spreadsheet_error",
    "JLZlCZ0": "too_short",
    "https://www.youtube.com/watch?v=JLZlCZ0": "too_short",
    "https://youtu.be/abc": "too_short",
    "dQw4w9WgXcB": "impossible_id",
    "dQw4w9WgXcQQ": "not_a_link",
    "no such file.mp3": "not_a_link",
    "1.23E+10": "not_a_link",
    "file:///etc/passwd": "scheme",
    "ftp://example.org/a.mp3": "scheme",
    "data:audio/wav;base64,AAAA": "scheme",
    "ytsearch:cats": "scheme",
    "javascript:alert(1)": "scheme",
    "--exec=rm": "not_a_link",
    "-a": "too_short",
    "https://user:secret@example.org/a.mp3": "credentials",
    "http://127.0.0.1/a.mp3": "private_address",
    "http://localhost:8000/a.mp3": "private_address",
    "http://[::1]/a.mp3": "private_address",
    "http://[::ffff:10.0.0.1]/a.mp3": "private_address",
    "http://192.168.1.1/a.mp3": "private_address",
    "http://169.254.169.254/latest/meta-data": "private_address",
    "https://exa mple.org/a.mp3": "not_a_link",
    "https:///a.mp3": "not_a_link",
    "http://[bad/a.mp3": "not_a_link",
    "a\x00b": "control_characters",
    "../../../etc/passwd\x1b[2J": "control_characters",
}


@pytest.mark.parametrize("text", LINKS)
def test_links(text):
    link = read_link(text)
    assert (link.url, link.damage) == (LINKS[text], None)


@pytest.mark.parametrize("text", DAMAGED)
def test_damage_has_a_cause(text):
    assert (read_link(text).url, read_link(text).damage) == (None, DAMAGED[text])


def test_a_file_is_found_beside_the_csv(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"x")
    link = read_link("a.wav", root=tmp_path)
    assert (link.url, link.is_local, link.damage) == (str(tmp_path / "a.wav"), True, None)


@pytest.mark.parametrize("host", ["10.1.2.3", "172.16.0.1", "100.64.0.1", "0.0.0.0", "fe80::1", "fd00::1", "a.local"])
def test_private_hosts(host):
    assert is_private_host(host)


def test_signed_addresses_are_not_shown():
    url = "https://u:p@cdn.example.org/a.mp3?X-Amz-Signature=s3cret&token=abc&id=7&Expires=9&sig=q"
    shown = public_url(url)
    assert "id=7" in shown
    assert not {"s3cret", "abc", "u:p", "=9", "=q"} & {
        part for part in ("s3cret", "abc", "u:p", "=9", "=q") if part in shown
    }


def test_multi_line_cells_bom_and_damage(write_csv):
    rows = [(GOOD, 'a\nlong, "quoted"\ntext', "a"), ("#NAME?", "x", "a"), ("short", "y", "b"), ("", "z", "b")]
    csv = write_csv(rows, header=("link", "description", "category"), prefix="\ufeff")
    plan = plan_links(csv)
    assert (len(plan.rows), len(plan.damaged), len(plan.requests)) == (4, 3, 1)
    assert plan.columns == {"url": "link", "label": "category"}
    assert plan.causes == {"spreadsheet_error": 1, "too_short": 1, "empty": 1}
    assert [row.number for row in plan.damaged] == [5, 6, 7]  # lines of the file, as an editor counts them


def test_semicolons_and_named_columns(tmp_path):
    path = tmp_path / "l.csv"
    path.write_text(f"where;what\n{GOOD};dog\n")
    plan = plan_links(path, url_column="where", label_column="what")
    assert [(request.url, request.label) for request in plan.requests] == [(WATCH, "dog")]
    with pytest.raises(ManifestError, match="did you mean 'where'"):
        plan_links(path, url_column="wher")
    with pytest.raises(ManifestError, match="--url-column"):
        plan_links(path)


@pytest.mark.parametrize("text", ["", "link,category\n", "\x00", "link\n" + "x" * 20_000_000])
def test_files_that_are_no_list(text, tmp_path):
    path = tmp_path / "l.csv"
    path.write_text(text)
    with pytest.raises(ManifestError):
        plan_links(path)


def test_missing_folder_and_not_utf8(tmp_path):
    with pytest.raises(ManifestError, match="No such file"):
        plan_links(tmp_path / "none.csv")
    with pytest.raises(ManifestError, match="directory"):
        plan_links(tmp_path)
    (tmp_path / "l.csv").write_bytes(b"link\n\xff\xfe\n")
    with pytest.raises(ManifestError, match="UTF-8"):
        plan_links(tmp_path / "l.csv")


def test_repeats_and_conflicts(write_csv):
    other = "9bZkp7q19f0"
    rows = [(GOOD, "a"), (f"https://youtu.be/{GOOD}", "a"), (other, "a"), (other, "b")]
    csv = write_csv(rows)
    plan = plan_links(csv)
    assert (plan.n_unique, plan.n_repeats, len(plan.conflicts), len(plan.requests)) == (2, 2, 1, 1)
    assert plan.conflicts[0].labels == ("a", "b")
    kept = plan_links(csv, conflicts="first")
    assert [request.label for request in kept.requests] == ["a", "a"]


def test_sections_of_rows_and_several_clips(write_csv):
    rows = [(GOOD, "a", "10", "15"), (GOOD, "b", "30", "35"), ("9bZkp7q19f0", "b", "", "")]
    plan = plan_links(write_csv(rows, header=("link", "label", "start", "end")), clips_per_video=3, seconds=4.0)
    assert [(request.start, request.seconds) for request in plan.requests] == [(10.0, 5.0), (30.0, 5.0)] + [
        ("middle", 4.0)
    ] * 3
    assert len({request.key for request in plan.requests}) == 5
    assert [request.start_seconds(60.0) for request in plan.requests] == [10.0, 30.0, 8.0, 28.0, 48.0]
    assert not plan.conflicts


@pytest.mark.parametrize("cell", ["nan", "-1", "inf", "soon"])
def test_sections_that_are_none(cell, write_csv):
    with pytest.raises(ManifestError, match="row 2, column 'start'"):
        plan_links(write_csv([(GOOD, "a", cell)], header=("link", "label", "start")))


def test_random_starts_lie_inside_and_stay(write_csv):
    plan = plan_links(write_csv([(GOOD, "a")]), start="random", seconds=30.0)
    start = plan.requests[0].start_seconds(100.0)
    assert 0 <= start <= 70
    assert plan_links(plan.place, start="random", seconds=30.0).requests[0].start_seconds(100.0) == start
    assert plan.requests[0].start_seconds(10.0) == 0


def ids(n, seed=0):
    import random

    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    draw = random.Random(seed)
    return ["".join(draw.choices(letters, k=10)) + draw.choice("AEIMQUYcgkosw048") for _ in range(n)]


def test_the_draw_is_seeded_and_does_not_shift(write_csv):
    names = ids(50)
    plan = plan_links(write_csv([(name, "ab"[i % 2]) for i, name in enumerate(names)]))
    order = draw_order(plan.requests, seed=1)
    assert order == draw_order(reversed(plan.requests), seed=1)
    assert [request.url for request in order["a"]] != [
        request.url for request in draw_order(plan.requests, seed=2)["a"]
    ]
    fewer = draw_order(plan.requests[:30], seed=1)["a"]
    assert fewer == [request for request in order["a"] if request in fewer]


def test_splits_share_no_video():
    clips = [(f"k{i}", "ab"[i % 2], f"v{i // 3}") for i in range(300)]
    split = plan_splits(clips, valid_fraction=0.1, test_fraction=0.2, seed=3)
    parts = {}
    for key, _, group in clips:
        parts.setdefault(group, set()).add(split[key])
    assert all(len(names) == 1 for names in parts.values())
    counts = Counter((split[key], label) for key, label, _ in clips)
    for label in "ab":  # never more than asked for; less where the last video would not fit whole
        assert 11 <= counts["valid", label] <= 15
        assert 26 <= counts["test", label] <= 30
    assert split == plan_splits(reversed(clips), valid_fraction=0.1, test_fraction=0.2, seed=3)


def test_cut_ids_are_found_only_where_the_damage_is_explained(write_csv, tmp_path):
    rows = [
        ("JLZlCZ0", "one", "a"),
        ("i9E_Blai8", "two", "a"),
        ("abcdefg", "three", "a"),
        ("xyz", "", "a"),
        (GOOD, "", "b"),
    ]
    csv = write_csv(rows, header=("link", "title", "category"))
    answers = {"one": ["wJLZlCZ0hac", GOOD], "two": ["i9E_Blai8vw", "vi9E_Blai8w"], "three": [GOOD]}
    asked = []

    def search(title):
        asked.append(title)
        return answers[title]

    plan = plan_links(csv)
    found = repair_rows(plan, tmp_path / "out", search=search, hosts=Hosts(pause_seconds=(0, 0)))
    assert list(found.values()) == ["wJLZlCZ0hac"]  # two fit "two", none fits "three"
    assert asked == ["one", "two", "three"]
    again = repair_rows(plan, tmp_path / "out", search=search, hosts=Hosts(pause_seconds=(0, 0)))
    assert (again, asked) == (found, ["one", "two", "three"])
    repaired = plan_links(csv, repairs=found)
    assert repaired.requests[0].url == "https://www.youtube.com/watch?v=wJLZlCZ0hac"
    assert repaired.requests[0].row.link.text == "JLZlCZ0"


def test_a_search_that_is_blocked_ends(write_csv, tmp_path):
    csv = write_csv([(f"abc{i}", f"title {i}", "a") for i in range(5)], header=("link", "title", "category"))
    asked = []

    def search(title):
        asked.append(title)
        raise StatusError("bot_check", "no")

    assert repair_rows(plan_links(csv), tmp_path / "o", search=search, hosts=Hosts(pause_seconds=(0, 0))) == {}
    assert len(asked) == 1


def test_what_explains_a_cut_id():
    assert explains("hdQw4w9Wgaw", "dQw4w9Wga")
    assert not explains("XdQw4w9Wgaw", "dQw4w9Wga")
    assert not explains(GOOD, "")
    assert not explains("short", "sho")


def test_the_list_that_the_project_grew_from(shared_data):
    path = shared_data / "youtube" / "youtube.csv"
    if not path.exists():
        pytest.skip("needs ../shared/data/youtube, which only the developers have")
    plan = plan_links(path)
    assert (len(plan.rows), len(plan.damaged), plan.n_unique, plan.n_repeats) == (3599, 1497, 2040, 62)
    assert plan.causes == {"too_short": 1434, "spreadsheet_error": 63}
    assert len(plan.conflicts) == 5
    assert len(plan.requests) == 2035
    assert is_stripped(plan)


def test_sections_of_videos_are_known_by_other_names_too(write_csv):
    plan = plan_links(
        write_csv([(GOOD, "1.5", "3", "99", "a")], header=("link", "Start (s)", "end_time", "duration", "label"))
    )
    assert [(row.start, row.stop) for row in plan.rows] == [(1.5, 3.0)]


def test_a_comma_that_is_not_quoted_is_refused_as_in_a_manifest(write_csv):
    csv = write_csv([(GOOD, "a")], header=("link", "category"))
    csv.write_text(f"link,title,category\n{GOOD},one, two,a\n", encoding="utf-8")
    with pytest.raises(ManifestError, match=r"row 2: 'a' stands beyond the 3 columns"):
        plan_links(csv)
