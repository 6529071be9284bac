"""A scikit-learn pipeline by hand: padded batches in a transformer step, the regularisation searched by group."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import soundfile
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from transformers import AutoFeatureExtractor, AutoModel


class Wav2Vec2Embedder(TransformerMixin, BaseEstimator):
    def __init__(self, checkpoint, batch_size=8):
        self.checkpoint = checkpoint
        self.batch_size = batch_size

    def fit(self, paths, y=None):
        self.extractor_ = AutoFeatureExtractor.from_pretrained(self.checkpoint)
        self.model_ = AutoModel.from_pretrained(self.checkpoint).eval()
        return self

    @torch.inference_mode()
    def transform(self, paths):
        found = []
        for start in range(0, len(paths), self.batch_size):
            clips = [soundfile.read(path, dtype="float32")[0] for path in paths[start : start + self.batch_size]]
            inputs = self.extractor_(
                clips, sampling_rate=16_000, padding=True, return_attention_mask=True, return_tensors="pt"
            )
            states = self.model_(**inputs).last_hidden_state
            lengths = self.model_._get_feat_extract_output_lengths(inputs.attention_mask.sum(1))
            for frames, length in zip(states, lengths, strict=True):
                found.append(frames[:length].mean(0).numpy())
        return np.stack(found)


train, test = (list(csv.DictReader(Path(path).read_text().splitlines())) for path in sys.argv[1:3])
embedder = Wav2Vec2Embedder(sys.argv[3]).fit([])
head = Pipeline([("scale", StandardScaler()), ("classify", LogisticRegression(max_iter=1000))])
search = GridSearchCV(head, {"classify__C": np.logspace(-3, 2, 6)}, cv=GroupKFold(3))
x = embedder.transform([row["file"] for row in train])
search.fit(x, [row["label"] for row in train], groups=[row["group"] for row in train])
Path(sys.argv[4]).write_text(json.dumps(search.predict(embedder.transform([row["file"] for row in test])).tolist()))
