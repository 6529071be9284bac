"""Write what sed_eval says of made-up recordings: ``python tests/timeline/by_sed_eval.py``, where it is installed."""

import json
import math
from pathlib import Path

import numpy as np
import sed_eval

NAMES = {"f_measure": "f1", "precision": "precision", "recall": "recall", "error_rate": "error_rate"}
NAMES |= {f"{name}_rate": f"{name}s" for name in ("substitution", "deletion", "insertion")}


def make_recording(rng, n, labels, jitter):
    """True events over each other, and findings: moved, called otherwise, lost, and some of nothing."""
    truth, found = [], []
    for _ in range(n):
        onset = round(float(rng.uniform(0, 6 * n)), 3)
        offset = round(onset + float(rng.uniform(0.2, 6)), 3)
        label = str(rng.choice(labels))
        truth.append((onset, offset, label))
        if rng.random() < 0.85:
            moved = [max(0.0, round(time + float(rng.normal(0, jitter)), 3)) for time in (onset, offset)]
            other = str(rng.choice(labels)) if rng.random() < 0.2 else label
            if moved[1] > moved[0]:
                found.append((*moved, other))
    for _ in range(n // 5):
        onset = round(float(rng.uniform(0, 6 * n)), 3)
        found.append((onset, round(onset + 1.5, 3), str(rng.choice(labels))))
    return truth, found


def as_dicts(rows):
    return [{"event_onset": a, "event_offset": b, "event_label": c, "filename": "x"} for a, b, c in rows]


def plain(of):
    found = {NAMES[name]: value for part in ("f_measure", "error_rate") for name, value in of[part].items()}
    return {name: None if math.isnan(value) else float(value) for name, value in found.items()}


def judge(recordings, resolution, collar, share):
    """Return sed_eval's scores under our names."""
    labels = sorted({row[2] for pair in recordings for part in pair for row in part})
    options = {"t_collar": collar, "evaluate_offset": share is not None, "percentage_of_length": share or 0.0}
    judges = {
        "segments": sed_eval.sound_event.SegmentBasedMetrics(labels, time_resolution=resolution),
        "events": sed_eval.sound_event.EventBasedMetrics(labels, **options),
    }
    scores = {}
    for kind, metrics in judges.items():
        for truth, found in recordings:
            metrics.evaluate(as_dicts(truth), as_dicts(found))
        by_class = metrics.results_class_wise_metrics()
        mean = plain(metrics.results_class_wise_average_metrics())
        scores[kind] = {
            "overall": plain(metrics.results_overall_metrics()),
            "by_class": {label: plain(of) for label, of in by_class.items()},
            "class_mean": {name: mean[name] for name in ("f1", "precision", "recall", "error_rate")},
        }
    return scores


def main():
    cases = []
    for seed, (n, labels, jitter, resolution, collar, share, n_files) in enumerate(
        [
            (30, ["dog", "rain", "siren"], 0.1, 1.0, 0.2, 0.5, 1),
            (30, ["dog", "rain", "siren"], 0.5, 0.5, 0.25, 0.2, 3),
            (60, ["a", "b"], 0.2, 1.0, 0.2, None, 1),
            (40, ["a"], 0.3, 0.1, 0.5, 0.5, 2),
            (10, list("abcdefgh"), 0.2, 1.0, 0.2, 0.5, 2),
        ]
    ):
        rng = np.random.default_rng(seed)
        recordings = [make_recording(rng, n, labels, jitter) for _ in range(n_files)]
        facts = {"resolution": resolution, "collar": collar, "offset_share": share}
        scores = judge(recordings, *facts.values())
        cases.append({"name": f"{n_files}x{n}-{len(labels)}", **facts, "recordings": recordings, "scores": scores})
    Path(__file__).with_name("sed_eval.json").write_text(json.dumps(cases) + "\n")


if __name__ == "__main__":
    main()
