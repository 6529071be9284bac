"""Embeddings as one step of your own scikit-learn pipeline, searched with GridSearchCV.

The store makes the search cheap: every clip is embedded once, not once a fold.
"""

import tempfile
from importlib.resources import files
from pathlib import Path

from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from embedx import AudioEmbedder, read_manifest

manifest = read_manifest(str(files("embedx") / "assets" / "sample" / "clips.csv"))
paths = [str(manifest.path_of(source)) for source in manifest]
labels = [source.label for source in manifest]
recordings = [source.group for source in manifest]  # clips of one recording stay together

store = Path(tempfile.mkdtemp()) / "cache.h5"
pipeline = make_pipeline(
    AudioEmbedder(encoder="tiny", layer="mean", store=store),
    StandardScaler(),
    LogisticRegression(max_iter=1_000),
)
search = GridSearchCV(pipeline, {"logisticregression__C": [0.01, 0.1, 1.0]}, cv=GroupKFold(5))
search.fit(paths, labels, groups=recordings)
print(f"best C {search.best_params_['logisticregression__C']}: {search.best_score_:.2f} accuracy over 5 folds")
