"""Run nkululeko by its own command on an .ini file, and read the scores that it prints.

    python run_nkululeko.py TRAIN.csv TEST.csv ENCODER FILE.ini CLASSIFIER OUT.json

What a user writes is the .ini file; this script only fills it in. Every classifier embeds the clips anew, so that
its time is what a user's first experiment takes.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

train, test, encoder, ini, classifier, out = sys.argv[1:]
with tempfile.TemporaryDirectory() as folder:
    text = Path(ini).read_text(encoding="utf-8")
    names = {"folder": folder, "name": "run", "train": train, "test": test, "encoder": encoder}
    for name, value in {**names, "classifier": classifier}.items():
        text = text.replace(f"{{{name}}}", value)
    (Path(folder) / "exp.ini").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "nkululeko.nkululeko", "--config", "exp.ini"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
print(done.stdout)
found = re.findall(r"UAR: ([\d.]+).*?ACC: ([\d.]+)", done.stdout)
if done.returncode or not found:
    errors = [line for line in done.stdout.splitlines() if "ERROR" in line or "Error" in line]
    sys.exit(f"nkululeko said: {errors[-1] if errors else 'nothing'}")
with open(out, "w", encoding="utf-8") as file:
    json.dump({"balanced_accuracy": float(found[-1][0]), "accuracy": float(found[-1][1])}, file)
