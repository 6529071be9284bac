"""Labelled audio in, a classifier you can trust out.

The face of the package: names are loaded when they are first used, so ``import embedx`` is fast and
loads neither torch nor transformers, scikit-learn or h5py.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "AudioClassifier": "embedx.estimators",
    "AudioEmbedder": "embedx.estimators",
    "Augmentation": "embedx.heads.finetune",
    "Choice": "embedx.heads.search_space",
    "ClusterOptions": "embedx.extract.options",
    "Comparison": "embedx.comparison",
    "Dataset": "embedx.dataset",
    "EmbedxError": "embedx.errors",
    "FetchOptions": "embedx.download.fetch_options",
    "FineTuneClassifier": "embedx.heads.finetune",
    "HeadSpec": "embedx.heads.head_spec",
    "Integer": "embedx.heads.search_space",
    "Manifest": "embedx.manifest",
    "Model": "embedx.model",
    "Real": "embedx.heads.search_space",
    "Recipe": "embedx.recipe",
    "RecordingReader": "embedx.model.recording_reader",
    "Resources": "embedx.recipe",
    "Segment": "embedx.timeline",
    "SegmentOptions": "embedx.timeline",
    "Source": "embedx.manifest",
    "StoredLayers": "embedx.pooling",
    "TimeLine": "embedx.timeline",
    "compare": "embedx.comparison",
    "download_clips": "embedx.download.api",
    "export_onnx": "embedx.model.export",
    "export_whole": "embedx.model.export_whole",
    "extract_embeddings": "embedx.extract.job",
    "fit_model": "embedx.model",
    "inspect_data": "embedx.inspection",
    "load_embeddings": "embedx.dataset",
    "merge_stores": "embedx.store.maintenance",
    "read_manifest": "embedx.manifest",
    "read_segments": "embedx.timeline",
    "score_events": "embedx.timeline",
    "score_segments": "embedx.timeline",
    "search_store": "embedx.search",
    "tune": "embedx.tuning",
    "verify_store": "embedx.store.maintenance",
    "write_segments": "embedx.timeline",
}

__all__ = [*sorted(_HOME), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'embedx' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
