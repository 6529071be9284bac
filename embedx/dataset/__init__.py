"""One order for everything that is learned from: X, control, y, groups, split, sources."""

from embedx.dataset.dataset import Dataset
from embedx.dataset.doubts import describe_doubts
from embedx.dataset.loading import build_dataset, list_audio, load_embeddings

__all__ = ["Dataset", "build_dataset", "describe_doubts", "list_audio", "load_embeddings"]
