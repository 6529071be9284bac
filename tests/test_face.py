"""The public names: adding or removing one is a decision, so it shows here."""

from pathlib import Path

import embedx
import embedx.testing

FACE = [
    "AudioClassifier",
    "AudioEmbedder",
    "Augmentation",
    "Choice",
    "ClusterOptions",
    "Comparison",
    "Dataset",
    "EmbedxError",
    "FetchOptions",
    "FineTuneClassifier",
    "HeadSpec",
    "Integer",
    "Manifest",
    "Model",
    "Real",
    "Recipe",
    "RecordingReader",
    "Resources",
    "Segment",
    "SegmentOptions",
    "Source",
    "StoredLayers",
    "TimeLine",
    "__version__",
    "compare",
    "download_clips",
    "export_onnx",
    "export_whole",
    "extract_embeddings",
    "fit_model",
    "inspect_data",
    "load_embeddings",
    "merge_stores",
    "read_manifest",
    "read_segments",
    "score_events",
    "score_segments",
    "search_store",
    "tune",
    "verify_store",
    "write_segments",
]


def test_the_names_are_these():
    assert sorted(embedx.__all__) == FACE


def test_every_name_loads_and_has_an_example():
    for name in FACE:
        thing = getattr(embedx, name)
        assert name == "__version__" or ">>>" in thing.__doc__, f"{name} has no example"


def test_dir_lists_the_names():
    assert set(FACE) <= set(dir(embedx))


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(embedx, "nothing_of_this_name")


def test_the_testing_names_exist():
    assert all(">>>" in getattr(embedx.testing, name).__doc__ for name in embedx.testing.__all__)


def test_a_function_is_not_hidden_by_a_room_of_its_name():
    rooms = {path.stem for path in Path(embedx.__file__).parent.iterdir()}
    assert not set(FACE) & rooms


def test_type_checkers_are_told_that_there_are_types():
    assert (Path(embedx.__file__).parent / "py.typed").is_file()
