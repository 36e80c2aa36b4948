"""How well a policy drives: fixed episodes, metrics with intervals, baselines beside it."""

from drive_rl.evaluation.baselines import Baseline, baseline_names, make_baseline
from drive_rl.evaluation.protocol import evaluate
from drive_rl.evaluation.reading import read_evaluation
from drive_rl.evaluation.results import Evaluation, PolicyResult
from drive_rl.evaluation.statistics import Estimate
from drive_rl.evaluation.tables import print_table, table

__all__ = [
    "Baseline",
    "Estimate",
    "Evaluation",
    "PolicyResult",
    "baseline_names",
    "evaluate",
    "make_baseline",
    "print_table",
    "read_evaluation",
    "table",
]
