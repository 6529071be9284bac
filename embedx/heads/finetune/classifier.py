"""The whole encoder with a classification layer, trained end to end, as a scikit-learn classifier."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from sklearn.base import BaseEstimator, ClassifierMixin

from embedx.checks import require_choice, require_number
from embedx.encoders.base import EncoderInfo
from embedx.encoders.catalog import DEFAULT_ENCODER
from embedx.errors import ParameterError
from embedx.heads.finetune.attempts import Means, fit_network
from embedx.heads.finetune.card import gather_facts
from embedx.heads.finetune.fitted import FittedNetwork
from embedx.heads.finetune.settings import Augmentation, Settings
from embedx.heads.finetune.start import find_recorded, find_start
from embedx.heads.finetune.targets import read_targets
from embedx.recipe import Recipe

__all__ = ["FineTuneClassifier"]

_COMPUTE_DTYPES = ("auto", "float32", "bfloat16")


class FineTuneClassifier(FittedNetwork, ClassifierMixin, BaseEstimator):
    """Train the whole encoder, not only a head on its embeddings.

    wav2vec2 (or a relative) with a linear projector, the mean over each clip's own frames and a linear
    classifier, exactly as ``Wav2Vec2ForSequenceClassification`` of transformers, run as extraction runs it:
    a clip's logits do not depend on the clips beside it. Equal seeds give equal weights on one machine,
    whatever ``batch_seconds`` is; so do several processes under ``torchrun`` but for rounding and dropout.

    Parameters
    ----------
    encoder : str
        Bundled name, folder or hub id; not used when ``recipe`` is given.
    recipe : Recipe, optional
        Encoder with its revision and weights, windows, offset: how embeddings of the same clips were
        extracted. A store's comparison gives its own.
    window_seconds : float
        Longest piece of a clip that is computed at once, in seconds; a longer clip gives random windows in training
        and the mean of all its windows' logits in prediction. Not used when ``recipe`` is given.
    epochs : int
        Passes over the training clips, at most.
    batch_size : int
        Clips a step, over all processes; what is computed at a time is ``batch_seconds``.
    learning_rate : float
        Of the top transformer layer, for AdamW, after the warm-up.
    head_learning_rate : float, optional
        Of projector and classifier; ten times ``learning_rate`` unless given.
    layer_decay : float
        Each layer learns at this share of the rate of the one above (1 is even).
    weight_decay : float
        Of AdamW, for matrices.
    warmup_fraction : float
        Share of the steps over which the rate rises; then it falls linearly to nothing.
    freeze : {'conv', 'none', 'encoder'}
        What never moves: the convolutional part (as Baevski et al. 2020 do), nothing, or the whole encoder.
    n_frozen_layers : int
        Transformer layers that do not move either, from the bottom.
    unfreeze_epochs : int
        Epochs over which the encoder thaws, from the top (Howard and Ruder 2018); 0 trains it from the start.
    lora_rank : int
        Train matrices of this rank beside the attention's instead of the encoder (Hu et al. 2021; extra
        ``lora``); 0 is off.
    dropout : float, optional
        All of the encoder's dropouts; None leaves those of the checkpoint's config.
    layerdrop : float
        Chance that a step leaves out a transformer layer.
    label_smoothing : float
        Share of each label that is spread over all classes.
    class_weight : {None, 'balanced'}
        As in scikit-learn.
    augmentation : Augmentation, optional
        How training clips are varied; None is ``Augmentation()``.
    validation_fraction : float
        Share of the training clips that is held out, groups together, for stopping early and for choosing
        the best weights; 0 keeps the last weights. So does a training set that cannot be split.
    patience : int
        Epochs without gain until training stops; 0 never stops early.
    batch_seconds : float, optional
        Seconds of audio computed at a time; halved whenever memory runs out. None: 20 on a CPU, 160 on a GPU.
    gradient_checkpointing : bool
        Compute activations again in the backward pass: less memory, a third more time.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
    compute_dtype : {'auto', 'float32', 'bfloat16'}
        ``auto``: bfloat16 on GPUs that have it, float32 on CPUs (where it trains faster).
    checkpoint_folder : path-like, optional
        Where the state is kept after each epoch and every five minutes, until `save` has written the model.
    resume : bool
        Go on from the checkpoint in that folder, if there is one.
    random_state : int
        Seed of new layers, held-out part, order, augmentation and dropout.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    recipe_ : Recipe
        How audio is read, and the encoder that training began from.
    history_ : list of dict
        One an epoch: ``epoch``, ``attempt``, ``train_loss``, ``train_accuracy``, ``valid_loss``,
        ``valid_accuracy``, ``entropy`` (of the predicted classes), ``collapsed``, ``learning_rate``.
    best_epoch_ : int
        Entry of ``history_`` whose weights were kept.
    collapsed_ : bool
        Whether it ends at (nearly) one class all the same.
    n_restarts_ : int
        1 if a collapse was answered by a second attempt at a fifth of the rates.
    n_processes_ : int
        Processes that trained it.
    fit_seconds_ : float
        Wall time of `fit`, in seconds.
    facts_ : dict
        What the model card says of data, versions and the base's licence.
    """

    eats = "sources"

    def __init__(
        self,
        *,
        encoder: str = DEFAULT_ENCODER,
        recipe: Recipe | None = None,
        window_seconds: float = 10.0,
        epochs: int = 20,
        batch_size: int = 16,
        learning_rate: float = 1e-4,
        head_learning_rate: float | None = None,
        layer_decay: float = 0.9,
        weight_decay: float = 0.01,
        warmup_fraction: float = 0.1,
        freeze: str = "conv",
        n_frozen_layers: int = 0,
        unfreeze_epochs: int = 0,
        lora_rank: int = 0,
        dropout: float | None = None,
        layerdrop: float = 0.0,
        label_smoothing: float = 0.0,
        class_weight: str | None = None,
        augmentation: Augmentation | None = None,
        validation_fraction: float = 0.15,
        patience: int = 5,
        batch_seconds: float | None = None,
        gradient_checkpointing: bool = False,
        device: str = "auto",
        compute_dtype: str = "auto",
        checkpoint_folder: str | os.PathLike[str] | None = None,
        resume: bool = False,
        random_state: int = 0,
    ) -> None:
        self.encoder = encoder
        self.recipe = recipe
        self.window_seconds = window_seconds
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.head_learning_rate = head_learning_rate
        self.layer_decay = layer_decay
        self.weight_decay = weight_decay
        self.warmup_fraction = warmup_fraction
        self.freeze = freeze
        self.n_frozen_layers = n_frozen_layers
        self.unfreeze_epochs = unfreeze_epochs
        self.lora_rank = lora_rank
        self.dropout = dropout
        self.layerdrop = layerdrop
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight
        self.augmentation = augmentation
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.batch_seconds = batch_seconds
        self.gradient_checkpointing = gradient_checkpointing
        self.device = device
        self.compute_dtype = compute_dtype
        self.checkpoint_folder = checkpoint_folder
        self.resume = resume
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        tags.no_validation = True
        return tags

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        groups: Any = None,
        on_epoch: Callable[[int, float], None] | None = None,
        progress: Callable[..., None] | None = None,
    ) -> FineTuneClassifier:
        """Learn from audio.

        Parameters
        ----------
        X : array-like of shape (n,) of Source, str or path-like
            The clips; sources with absolute paths.
        y : array-like of shape (n,)
            Labels.
        sample_weight : array-like of shape (n,), optional
            Weight of each clip in the loss.
        groups : array-like of shape (n,), optional
            What the part held out for stopping must not cut apart.
        on_epoch : callable, optional
            Called with epoch and held-out loss (training loss when nothing is held out); what it raises
            ends the training.
        progress : callable, optional
            Called with steps done, steps in all, and facts to show.

        Raises
        ------
        ParameterError
            A parameter outside its values; X holds something else than sources or paths.
        DecodeError, ClipTooShortError
            A clip cannot be used; it is named before anything is trained.
        EncoderError, RecipeMismatchError
            The encoder cannot be had, or is not the one that the recipe names.
        RunnerError
            Memory runs out with a single clip, or processes of ``torchrun`` are missing.
        """
        started = time.monotonic()
        info, self.recipe_ = self._resolve()
        settings = self._settings()
        settings.check(n_layers=info.n_layers - 1)
        targets = read_targets(X, y, sample_weight, groups, settings)
        self.classes_ = targets.classes
        fitted = fit_network(targets, info, self.recipe_, settings, self._means(), on_epoch=on_epoch, progress=progress)
        self.network_, self.history_ = fitted.network, fitted.history
        self.best_epoch_, self.collapsed_ = fitted.best_epoch, fitted.collapsed
        self.n_restarts_, self.n_processes_ = fitted.n_restarts, fitted.n_processes
        self.fit_seconds_ = time.monotonic() - started
        self.facts_ = gather_facts(targets, info)
        return self

    def starting_recipe(self) -> Recipe:
        """Return how audio would be read, and the encoder that training would begin from.

        Raises
        ------
        EncoderError
            There is no such encoder.
        """
        return self._resolve()[1]

    def _resolve(self) -> tuple[EncoderInfo, Recipe]:
        if self.recipe is not None:
            return find_recorded(self.recipe), self.recipe
        return find_start(self.encoder, window_seconds=self.window_seconds)

    def _settings(self) -> Settings:
        given = {name: getattr(self, name) for name in Settings.__dataclass_fields__ if hasattr(self, name)}
        augmentation = Augmentation() if self.augmentation is None else self.augmentation
        return Settings(**{**given, "augmentation": augmentation, "seed": self.random_state})

    def _means(self) -> Means:
        require_choice("compute_dtype", self.compute_dtype, _COMPUTE_DTYPES)
        require_number("batch_seconds", self.batch_seconds, 0, open_low=True, optional=True)
        if self.resume and self.checkpoint_folder is None:
            raise ParameterError("resume=True needs the checkpoint_folder that the killed training wrote to")
        return Means(**{name: getattr(self, name) for name in Means.__dataclass_fields__})
