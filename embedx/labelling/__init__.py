"""Label few clips of many: which clip would teach most, what a head makes of it, and how good it is."""

from embedx.labelling.answers import AnsweredElsewhereError
from embedx.labelling.judging import CurvePoint
from embedx.labelling.label_file import LabelFile
from embedx.labelling.session import LabellingSession, Progress, Question
from embedx.labelling.simulation import Simulated, simulate
from embedx.labelling.strategies import STRATEGIES

__all__ = [
    "STRATEGIES",
    "AnsweredElsewhereError",
    "CurvePoint",
    "LabelFile",
    "LabellingSession",
    "Progress",
    "Question",
    "Simulated",
    "simulate",
]
