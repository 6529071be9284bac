"""Task files say all that is needed, and read the layouts in which their data is published."""

import numpy as np
import pytest

from benchmarks.quality.tasks import FOLDER, NotRun, heard_mask, read_task, read_tasks
from benchmarks.training.hearing import HEARD_FOLDS, HEARD_SPEAKERS, SAMPLE_CLASSES
from embedx.manifest import Source

TASKS = read_tasks()
LAYOUTS = {
    "esc50": ("ESC-50/audio/1-100032-A-0.wav", ("dog", "100032", "1")),
    "gtzan": ("gtzan/genres_original/blues/blues.00000.wav", ("blues", None, None)),
    "speech_commands": ("speech_commands_v0.02/bed/00176480_nohash_0.wav", ("bed", "00176480", "test")),
    "crema_d": ("CREMA-D/AudioWAV/1001_DFA_ANG_XX.wav", ("ANG", "1001", None)),
    "ravdess": ("RAVDESS/Actor_01/03-01-05-01-01-01-01.wav", ("05", "Actor_01", None)),
    "voxlingua_top10": ("voxlingua107_top10/en/Ab_-1__U__S24---0120.1-0130.2.wav", ("en", "Ab_-1", None)),
    "youtube": ("youtube/clips/audio/abc.wav", ("food", "abc", "train")),
}
LISTS = {
    "esc50": {"ESC-50/meta/esc50.csv": "filename,fold,target,category,esc10,src_file,take\n"
    "1-100032-A-0.wav,1,0,dog,True,100032,A\n"},
    "speech_commands": {
        "speech_commands_v0.02/testing_list.txt": "bed/00176480_nohash_0.wav\n",
        "speech_commands_v0.02/validation_list.txt": "bed/0a7c2a8d_nohash_0.wav\n",
    },
    "youtube": {"youtube/clips/manifest.csv": "path,label,group,split\naudio/abc.wav,food,abc,train\n"},
}  # fmt: skip


def lay_out(name, folder):
    path, expected = LAYOUTS[name]
    for place, text in {path: "", **LISTS.get(name, {})}.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text)
    return expected


def test_the_tasks_that_were_promised_are_declared():
    assert set(TASKS) == {"sample", "esc10", "fsdd", *LAYOUTS}


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_every_task_says_where_it_is_from_and_under_which_licence(task):
    assert task.licence
    assert task.reference
    assert task.get
    for row in task.published:
        assert {"who", "protocol", "accuracy", "source"} <= set(row)
        assert 0 < row["accuracy"] <= 100


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_published_layout_is_read(name, tmp_path):
    expected = lay_out(name, tmp_path)
    source = TASKS[name].read(tmp_path)[0]
    assert (source.label, source.group, source.split) == expected


@pytest.mark.parametrize("name", [*LAYOUTS, "esc10", "fsdd"])
def test_missing_data_is_said_and_not_run(name, tmp_path):
    with pytest.raises(NotRun, match="no "):
        TASKS[name].read(tmp_path)
    with pytest.raises(NotRun, match="--data"):
        TASKS[name].read(None)


def test_the_sample_needs_no_data():
    manifest = TASKS["sample"].read(None)
    assert len(manifest) == 152
    assert not heard_mask(TASKS["sample"], "tiny", list(manifest)).any()
    assert TASKS["sample"].heard_by("tiny") == "nothing"


def test_what_was_heard_is_what_the_training_reads():
    labels = [*SAMPLE_CLASSES, "rain", "chainsaw", "clock_tick", "fire_crackling", "helicopter", "sea_waves"]
    clips = [Source(f"{label}{fold}", label=label, split=fold) for label in labels for fold in "12345"]
    truth = [s.label not in SAMPLE_CLASSES and s.split in HEARD_FOLDS for s in clips]
    assert heard_mask(TASKS["esc10"], "tiny", clips).tolist() == truth
    speakers = [Source(name, group=name) for name in ("george", *HEARD_SPEAKERS)]
    assert heard_mask(TASKS["fsdd"], "tiny", speakers).tolist() == [False, True, True]
    assert not heard_mask(TASKS["fsdd"], "tiny-random", speakers).any()
    assert TASKS["esc10"].heard_by("somewhere/else") == "unknown"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('speed = 1\n', "unknown field 'speed'"),
        ('protocols = { best = "split" }\n', "unknown protocol 'best'"),
        ('name = "b"\n', "named 'b'"),
        ('files = "*.wav"\n', "either csv or files"),
    ],
)  # fmt: skip
def test_a_wrong_task_file_is_refused(tmp_path, text, message):
    fields = dict.fromkeys(("title", "folder", "licence", "reference", "get"), '"x"') | {"folds": "5"}
    fields |= {"name": '"a"', "csv": '"c.csv"'}
    fields.pop(text.split(" =")[0], None)
    (tmp_path / "a.toml").write_text(text + "".join(f"{key} = {value}\n" for key, value in fields.items()))
    with pytest.raises(ValueError, match=message):
        read_task(tmp_path / "a.toml")


def test_published_numbers_stand_beside_the_protocol_they_were_made_by():
    assert TASKS["esc50"].published_for("arch") == "45.73"
    assert TASKS["esc50"].published_for("maeb") == "46.95 (sd 3.5)"
    assert TASKS["esc50"].published_for("ours") == "-"
    assert TASKS["esc10"].published_for("maeb") == "-"


def test_no_task_file_is_left_out():
    assert len(list(FOLDER.glob("*.toml"))) == len(TASKS)
    assert np.unique([task.title for task in TASKS.values()]).size == len(TASKS)
