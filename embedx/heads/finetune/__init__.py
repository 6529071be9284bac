"""Fine-tuning end to end, as one more head: the one that takes audio, not embeddings."""

from embedx.heads.finetune.classifier import FineTuneClassifier
from embedx.heads.finetune.settings import Augmentation

__all__ = ["Augmentation", "FineTuneClassifier"]
