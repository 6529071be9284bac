"""What choosing the options of a time line is worth: chosen on one recording, judged on another.

    python -m benchmarks.timeline.chosen FSDD.csv [--minutes 6]

Recordings and models are made as in `benchmarks.timeline.hour`. Of each kind there are two recordings of other clips:
options are chosen on the development one (the sample's fold 4; every second clip of FSDD's speaker) and both they and
the defaults are judged on the other. Writes benchmarks/results/timeline_chosen.json.
"""

import argparse
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.timeline.hour import OPTIONS, Part, _model, _parts, _recording, _scores
from benchmarks.tools.record import measure, table, write_result
from embedx.model.recording_reader import RecordingReader
from embedx.recipe import Resources
from embedx.timeline import choose_options

COLUMNS = ("recording", "options", "segment F1", "segment error rate", "event F1, 0.2 s", "event F1, 0.5 s", "events")
NOTE = (
    "minutes a recording; encoder tiny, head logreg, windows alone. Chosen on a development recording of other clips, "
    "judged on this one. Events by a collar of 0.2 s; segments are 1 s."
)


def main() -> None:
    """Choose, judge, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fsdd")
    parser.add_argument("--minutes", type=float, default=6.0)
    args = parser.parse_args()
    rows, measures, chosen = [], {}, {}
    for part in _parts(args.fsdd):
        for way, (scores, options) in _judge(part, args.minutes * 60).items():
            rows.append([part.name, way, *scores["cells"][:-1]])
            chosen[f"{part.name} {way}"] = options
            for kind in ("segment", "event"):
                name = f"{part.name} {way}: {kind} F1"
                measures[name] = measure([scores[f"{kind}_f1"]], better="higher", unit="F1")
            print(rows[-1], flush=True)
    tables = {"scores": table(COLUMNS, rows, note=f"{args.minutes:g} {NOTE}")}
    write_result("timeline_chosen", tables=tables, measures=measures, options=chosen)


def _halves(part: Part) -> tuple[Part, Part]:
    """Return what options are chosen on and what is judged: other clips."""
    is_first = [source.split == "4" if part.name == "sample" else i % 2 == 0 for i, source in enumerate(part.test)]
    halves = ([s for s, first in zip(part.test, is_first, strict=True) if first is wanted] for wanted in (True, False))
    development, judged = (replace(part, test=half) for half in halves)
    return development, judged


def _judge(part: Part, seconds: float) -> dict[str, tuple[dict[str, Any], Any]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        heard = []
        with RecordingReader(
            _model(part, folder), options=OPTIONS["defaults"], resources=Resources(workers=0)
        ) as reader:
            for number, half in enumerate(_halves(part)):
                path = folder / f"{part.name}-{number}.wav"
                truth = _recording(half, seconds, path)
                heard.append((reader.read(str(path)), truth))
        development, (line, truth) = heard
        ways = {"defaults": line.options}
        ways |= {f"chosen by {by}": choose_options([development], by=by) for by in ("events", "segments")}
        return {
            way: (_scores(truth, line.with_options(options).segments, 0.0), asdict(options))
            for way, options in ways.items()
        }


if __name__ == "__main__":
    main()
