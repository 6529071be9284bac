"""Paths and labels to a saved classifier.

    python examples/three_lines.py [FOLDER_WITH_ONE_SUBFOLDER_A_CLASS]

Without an argument it uses the bundled sample and the bundled encoder, so it needs no network.
"""

import sys
from importlib.resources import files

from embedx import AudioClassifier, read_manifest

sample = files("embedx") / "assets" / "sample" / "clips.csv"
manifest = read_manifest(sys.argv[1] if len(sys.argv) > 1 else str(sample))
paths = [str(manifest.path_of(source)) for source in manifest]
labels = [source.label for source in manifest]

# The three lines.
classifier = AudioClassifier(head="logreg", encoder="tiny")
classifier.fit(paths[::2], labels[::2])
classifier.save("three-lines-model")

print(f"{classifier.score(paths[1::2], labels[1::2]):.2f} of {len(paths[1::2])} unheard clips are right")
print("saved to three-lines-model; try: embedx predict three-lines-model FILES...")
