"""embedx: a classifier over paths."""

import csv
import json
import sys
from pathlib import Path

from embedx import AudioClassifier

train, test = (list(csv.DictReader(Path(path).read_text().splitlines())) for path in sys.argv[1:3])
classifier = AudioClassifier(head="logreg", encoder=sys.argv[3])
classifier.fit([row["file"] for row in train], [row["label"] for row in train])
Path(sys.argv[4]).write_text(json.dumps(classifier.predict([row["file"] for row in test]).tolist()))
