"""Is a new result worse than an old one by more than noise?

    python -m benchmarks compare old.json new.json [--level 0.01] [--across-machines]

Every quantity that a result measures stands in its ``measures`` with all repetitions. A quantity got worse beyond
noise when a one-sided t-test says so: on the differences where the repetitions are the same ones (folds), else
Welch's (1947) on the two samples. Repetitions that do not vary at all have no noise: then any loss counts.
Exit status 1 with a regression, 2 when the two cannot be compared, else 0.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

__all__ = ["Change", "compare_results", "judge", "main"]

TINY_SHARE = 1e-9
"""Differences below this share of the old value are rounding."""


@dataclass(frozen=True)
class Change:
    """What became of one quantity: means, the change in percent (positive is better), and a verdict."""

    name: str
    unit: str
    old: float
    new: float
    gain: float
    verdict: str
    p_value: float | None = None

    @property
    def is_regression(self) -> bool:
        """Whether it got worse by more than noise."""
        return self.verdict == "worse"


def judge(name: str, old: Mapping[str, Any], new: Mapping[str, Any], *, level: float = 0.01) -> Change:
    """Return what became of one quantity.

    Parameters
    ----------
    name : str
        For the table.
    old, new : mapping
        From `benchmarks.tools.record.measure`.
    level : float
        Largest chance of calling an unchanged quantity worse.
    """
    before, after = (np.asarray(one["values"], float) for one in (old, new))
    sign = 1.0 if old["better"] == "higher" else -1.0
    gain = sign * float(after.mean() - before.mean())
    share = 100 * gain / abs(float(before.mean())) if before.mean() else 0.0
    p_value = _p_of_worse(sign * before, sign * after, _is_paired(old, new))
    if abs(gain) <= TINY_SHARE * abs(before.mean()):
        verdict = "same"
    elif p_value is None:
        verdict = "one measurement: not judged"
    elif p_value < level:
        verdict = "worse"
    else:
        verdict = "better" if p_value > 1 - level else "within noise"
    return Change(name, old["unit"], float(before.mean()), float(after.mean()), share, verdict, p_value)


def _is_paired(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return bool(old.get("keys")) and list(old["keys"]) == list(new.get("keys", ()))


def _p_of_worse(before: Any, after: Any, is_paired: bool) -> float | None:
    """Return the chance of so low an ``after`` if nothing changed; None when nothing tells the noise."""
    if len(before) < 2 or len(after) < 2:
        return None
    spread = (after - before).std() if is_paired else before.std() + after.std()
    if spread <= TINY_SHARE * max(abs(before.mean()), 1e-300):
        return 0.0 if after.mean() < before.mean() else 1.0
    if is_paired:
        return float(stats.ttest_rel(after, before, alternative="less").pvalue)
    return float(stats.ttest_ind(after, before, equal_var=False, alternative="less").pvalue)


def compare_results(
    old: Mapping[str, Any], new: Mapping[str, Any], *, level: float = 0.01, across_machines: bool = False
) -> list[Change]:
    """Return what became of every quantity that both results measure.

    Raises
    ------
    ValueError
        Different benchmarks, no common quantity, or seconds of different machines.
    """
    if old["benchmark"] != new["benchmark"]:
        raise ValueError(
            f"these are results of {old['benchmark']!r} and {new['benchmark']!r}: give two of one benchmark"
        )
    common = [name for name in old.get("measures", {}) if name in new.get("measures", {})]
    if not common:
        raise ValueError("no quantity is measured in both files: run both with this version")
    if not across_machines and any(old["measures"][name]["unit"] in ("s", "MB", "x") for name in common):
        differing = [key for key in ("cpu", "cores", "gpu") if old["machine"].get(key) != new["machine"].get(key)]
        if differing:
            pair = " and ".join(repr(one["machine"].get(differing[0])) for one in (old, new))
            raise ValueError(f"measured on machines with {differing[0]} {pair}: give --across-machines to compare them")
    return [judge(name, old["measures"][name], new["measures"][name], level=level) for name in common]


def main(words: Sequence[str] | None = None) -> int:
    """Print the changes; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks compare", description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--level", type=float, default=0.01, help="chance of a false alarm a quantity (default: 0.01)")
    parser.add_argument("--across-machines", action="store_true", help="compare seconds of different machines too")
    args = parser.parse_args(words)
    try:
        old, new = (json.loads(path.read_text(encoding="utf-8")) for path in (args.old, args.new))
        changes = compare_results(old, new, level=args.level, across_machines=args.across_machines)
    except (OSError, ValueError, KeyError) as error:
        print(f"cannot compare {args.old} and {args.new}: {error}")
        return 2
    for change in sorted(changes, key=lambda one: (not one.is_regression, one.name)):
        shown = f"{change.old:.4g} -> {change.new:.4g} {change.unit}, {change.gain:+.1f} %"
        print(f"{change.verdict:28} {change.name}: {shown}")
    lost = [name for name in old["measures"] if name not in new["measures"]]
    if lost:
        print(f"{len(lost)} quantities are missing in {args.new}, the first is {lost[0]!r}")
    n_worse = sum(change.is_regression for change in changes)
    print(f"{n_worse} of {len(changes)} quantities got worse by more than noise")
    return int(n_worse > 0)
