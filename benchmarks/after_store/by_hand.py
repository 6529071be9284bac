"""What a step costs that is written by hand: ``python -m benchmarks.after_store.by_hand STORE HEAD``.

The mean of all layers, read layer by layer with plain h5py, and the same classifier with the same parameters.
"""

import sys

import h5py
import numpy as np
from lightgbm import LGBMClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from embedx.heads.catalog import make_head


def main() -> None:
    """Read, fit, and print the share of clips that are predicted right."""
    store, head = sys.argv[1:]
    with h5py.File(store) as file:
        embeddings, labels = file["embeddings"], file["clips/label"].asstr()[:]
        total = np.zeros((embeddings.shape[0], embeddings.shape[2]), np.float32)
        for layer in range(embeddings.shape[1]):
            total += embeddings[:, layer]
        total /= embeddings.shape[1]
    parameters = make_head(head, n_layers=1, random_state=0).steps[-1][1].get_params()
    if head == "logreg":
        model = make_pipeline(StandardScaler(), LogisticRegression(**parameters))
    else:
        model = LGBMClassifier(**parameters)
    model.fit(total, labels)
    print((model.predict(total[:2000]) == labels[:2000]).mean())


if __name__ == "__main__":
    main()
