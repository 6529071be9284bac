"""Results where a team keeps its runs: MLflow, Weights & Biases, TensorBoard, each by its own library.

A target is ``"mlflow"``, ``"wandb"`` or ``"tensorboard"``, with a place after a colon where the library's own default
shall not do: ``"mlflow:sqlite:///runs.db"`` (a tracking URI), ``"wandb:my-project"``, ``"tensorboard:runs"``.
"""

from embedx.tracking.records import log_comparison, log_data, log_model, log_tuning
from embedx.tracking.trackers import TRACKERS, Tracker, Trackers, open_trackers

__all__ = ["TRACKERS", "Tracker", "Trackers", "log_comparison", "log_data", "log_model", "log_tuning", "open_trackers"]
