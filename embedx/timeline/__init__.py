"""What a recording holds and when: probabilities of windows become segments, files that others read, and scores.

| module | what it knows |
|---|---|
| `segments.py` | smoothing, thresholds, merging: how probabilities become segments |
| `time_line.py` | the windows, the probabilities and the segments of one recording |
| `segment_writers.py` | CSV, JSON, Audacity, Raven, Praat and RTTM |
| `segment_readers.py` | the same, and every table that names times and labels |
| `textgrid.py` | Praat's text format |
| `choosing.py` | options that suit recordings whose truth is known |
| `options_file.py` | the file of such options |
| `event_scores.py` | segment-based and event-based scores, by the definitions of sed_eval |
"""

from embedx.timeline.choosing import choose_options
from embedx.timeline.event_scores import score_events, score_segments
from embedx.timeline.options_file import OptionsFile
from embedx.timeline.segment_readers import read_segments
from embedx.timeline.segment_writers import FORMATS, write_segments
from embedx.timeline.segments import Segment, SegmentOptions, find_segments
from embedx.timeline.time_line import TimeLine

__all__ = [
    "FORMATS",
    "OptionsFile",
    "Segment",
    "SegmentOptions",
    "TimeLine",
    "choose_options",
    "find_segments",
    "read_segments",
    "score_events",
    "score_segments",
    "write_segments",
]
