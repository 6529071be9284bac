"""What a step costs that is written by hand: ``python -m benchmarks.after_store.by_hand STORE HEAD``.

The mean of all layers, read layer by layer with plain h5py, and the same classifier with the same parameters; of
``mlp`` the same network in a plain loop of torch, which stops by the same rule.
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
    if head == "mlp":
        _train_network(total, labels)
        return
    parameters = make_head(head, n_layers=1, random_state=0).steps[-1][1].get_params()
    if head == "logreg":
        model = make_pipeline(StandardScaler(), LogisticRegression(**parameters))
    else:
        model = LGBMClassifier(**parameters)
    model.fit(total, labels)
    print((model.predict(total[:2000]) == labels[:2000]).mean())


def _train_network(total: np.ndarray, labels: np.ndarray) -> None:
    """Train the network of the head ``mlp`` as most would write it; print epochs and the held-out log-loss."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    classes, codes = np.unique(labels, return_inverse=True)
    x = torch.from_numpy((total - total.mean(0)) / total.std(0)).float()
    y = torch.from_numpy(codes)
    held = torch.from_numpy(np.unique(np.arange(len(y)) // 16, return_inverse=True)[1] % 7 == 0)  # whole groups
    size = 2 ** min(max((int((~held).sum()) // 4).bit_length() - 1, 5), 9)
    network = nn.Sequential(
        nn.Linear(x.shape[1], 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, len(classes))
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3 * (size / 32) ** 0.5, weight_decay=1e-2)
    data = torch.utils.data.TensorDataset(x[~held], y[~held])
    batches = torch.utils.data.DataLoader(data, batch_size=size, shuffle=True, drop_last=True)
    losses: list[float] = []
    while len(losses) < 100 and len(losses) - 1 - int(np.argmin(losses or [0])) < 10:
        network.train()
        for some, right in batches:
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(some), right).backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            losses.append(float(nn.functional.cross_entropy(network(x[held]), y[held])))
    print(len(losses), min(losses))


if __name__ == "__main__":
    main()
