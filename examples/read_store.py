"""Read an embedding store with plain h5py: no embedx needed where the numbers are used.

python examples/read_store.py emb.h5
"""

import json
import sys

import h5py

with h5py.File(sys.argv[1]) as file:
    embeddings = file["embeddings"]  # (rows, layers, dim): one row a clip and window
    recipe = json.loads(file.attrs["embedx_recipe"])
    print(f"{embeddings.shape[0]} rows, {embeddings.shape[1]} layers of {embeddings.shape[2]}, {embeddings.dtype}")
    print(f"encoder {recipe['encoder']}, layers {recipe['layers']}, windows of {recipe['window_seconds']:g} s")
    paths = file["clips/path"].asstr()[:]
    labels = file["clips/label"].asstr()[:]
    last_layer = embeddings[:, -1, :]
    for row, clip in list(enumerate(file["clip"][:]))[:5]:
        print(f"{paths[clip]:40} {labels[clip]:15} mean of the last layer {last_layer[row].mean():+.4f}")
