"""The whole encoder with a classification layer, trained end to end, as a scikit-learn classifier."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from embedx.checks import require_number
from embedx.encoders.base import EncoderInfo
from embedx.encoders.resolve import resolve_encoder
from embedx.errors import ParameterError, RecipeMismatchError, unknown_name
from embedx.heads.finetune.batches import logits_in_parts
from embedx.heads.finetune.dataset import AudioDataset, as_sources, read_targets
from embedx.heads.finetune.network import Network
from embedx.heads.finetune.resources import Checkpoints, MemoryBudget, Processes
from embedx.heads.finetune.saving import gather_facts, load_classifier, save_classifier
from embedx.heads.finetune.settings import Augmentation, FineTuneSettings
from embedx.heads.finetune.training import fit_network
from embedx.recipe import Recipe

__all__ = ["FineTuneClassifier", "make_finetune"]

_WINDOW_SECONDS = 10.0


class FineTuneClassifier(FineTuneSettings, ClassifierMixin, BaseEstimator):
    """Train the whole encoder, not only a head on its embeddings.

    wav2vec2 (or a relative) with a linear projector, the mean over each clip's own frames (or learned attention,
    ``pooling``) and a linear classifier, exactly as ``Wav2Vec2ForSequenceClassification`` of transformers, run as
    extraction runs it: a clip's logits do not depend on the clips beside it. Equal seeds give equal weights on one
    machine, whatever ``batch_seconds`` is; so do several processes under ``torchrun`` but for rounding and dropout.

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
    pooling : {'mean', 'attention'}
        How the frames of a clip become one vector: their mean, or a mean whose weights are learned (the softmax of a
        linear score of each frame, Safari, India and Hernando 2020), which begins as the plain mean. What it learns
        is saved beside transformers' own weights, and transformers alone does not know it.
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
        Go on from the checkpoint in that folder, if there is one. Without it, a training begins anew, and a
        checkpoint whose model was never saved is replaced with a `CheckpointWarning`.
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

    Examples
    --------
    >>> classifier = FineTuneClassifier(encoder="tiny", epochs=5)
    >>> classifier.fit(paths, labels).predict(["new.wav"])  # doctest: +SKIP
    """

    input_kind = "sources"

    classes_: NDArray[Any]
    facts_: dict[str, Any]
    network_: Network

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
        Interrupted
            Ctrl-C, after the step that runs; what is kept in ``checkpoint_folder`` is said.
        """
        started = time.monotonic()
        settings = self._settings()
        settings.check()
        info, self.recipe_ = self._find_start()
        require_number("n_frozen_layers", self.n_frozen_layers, 0, info.n_layers - 1, whole=True)
        targets = read_targets(X, y, sample_weight, groups, settings)
        self.classes_ = targets.classes
        learned = fit_network(targets, info, self.recipe_, settings, on_epoch=on_epoch, progress=progress)
        for name, value in learned.items():
            setattr(self, name, value)
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
        return self._find_start()[1]

    def _find_start(self) -> tuple[EncoderInfo, Recipe]:
        if self.recipe is not None:
            return _find_recorded(self.recipe), self.recipe
        return _find_named(self.encoder, self.window_seconds)

    def decision_function(self, X: Any) -> NDArray[np.float32]:
        """Return the logits of clips, shape (n, n_classes): the mean of their windows'.

        Windows are weighted by the seconds that each adds, as extraction pools them.
        """
        check_is_fitted(self, "network_")
        parts = [logits for dataset, logits in self._in_parts(X) if dataset.require_all() is not None]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.classes_)), np.float32)

    def predict_with_errors(
        self, X: Any, *, progress: Callable[..., None] | None = None
    ) -> tuple[NDArray[np.float64], tuple[str | None, ...]]:
        """Return probabilities, a row of NaN where a clip cannot be used, and why not, clip by clip.

        Parameters
        ----------
        X : array-like of shape (n,) of Source, str or path-like
            The clips.
        progress : callable, optional
            Called with clips done and clips in all.

        Returns
        -------
        proba : ndarray of shape (n, n_classes), float64
        errors : tuple of (str or None)
        """
        check_is_fitted(self, "network_")
        n, errors = len(as_sources(X)), list[str | None]()
        table = np.full((n, len(self.classes_)), np.nan, np.float32)
        for dataset, logits in self._in_parts(X):
            table[len(errors) : len(errors) + len(dataset)] = logits
            errors.extend(str(dataset.errors[i]) if i in dataset.errors else None for i in range(len(dataset)))
            if progress is not None:
                progress(len(errors), n)
        return softmax(table.astype(np.float64), axis=1), tuple(errors)

    def _in_parts(self, X: Any) -> Iterator[tuple[AudioDataset, NDArray[np.float32]]]:
        settings, processes = self._settings(), Processes(self.device)
        settings.check()
        budget = MemoryBudget.of(settings, processes, sample_rate=self.recipe_.sample_rate)
        return logits_in_parts(self.network_, as_sources(X), self.recipe_, budget, processes)

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return probabilities of shape (n, n_classes), columns in the order of ``classes_``.

        Parameters
        ----------
        X : array-like of shape (n,) of Source, str or path-like
            The clips.

        Raises
        ------
        DecodeError, ClipTooShortError
            A clip cannot be used; the error carries it.
        """
        return softmax(self.decision_function(X).astype(np.float64), axis=1)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable label of each clip, shape (n,)."""
        return self.classes_[self.decision_function(X).argmax(axis=1)]

    def record_scores(self, scores: Mapping[str, Any]) -> None:
        """Take scores on clips that were not trained on into the model card.

        Parameters
        ----------
        scores : mapping
            ``accuracy``, ``log_loss`` and ``n_clips``.
        """
        self.facts_["judged"] = {name: scores[name] for name in ("accuracy", "log_loss", "n_clips")}

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the model in Hugging Face's own format, so that transformers loads it too.

        The training's checkpoint is removed then, and not before: a full disk costs no training.

        Parameters
        ----------
        folder : path-like
            Made if need be: ``config.json``, ``model.safetensors``, ``preprocessor_config.json``, a model
            card (``README.md``) and ``finetune.json`` with what scikit-learn and embedx need.

        Raises
        ------
        OSError
            It cannot be written.

        Examples
        --------
        Anybody with transformers can use it, without embedx::

            classifier.save("barks")
            transformers.pipeline("audio-classification", model="barks")
        """
        check_is_fitted(self, "network_")
        save_classifier(self, folder)
        self.clear_checkpoint()

    def clear_checkpoint(self) -> None:
        """Remove the training's checkpoint, once the model is where it shall be."""
        Checkpoints(self.checkpoint_folder, {}).clear()

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        ModelFormatError
            The folder holds no such model, or a damaged one.
        """
        return load_classifier(cls, folder)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle holds: the network as the files that `save` writes, not as live objects of torch."""
        state = super().__getstate__()
        if "network_" in state:
            state = {**state, "network_": self.network_.to_bytes()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "network_" in state:
            self.network_ = Network.from_bytes(state["network_"], normalized=self.recipe_.normalize)


def _find_recorded(recipe: Recipe) -> EncoderInfo:
    """Find the encoder that a recipe names.

    Raises
    ------
    EncoderError
        It cannot be had.
    RecipeMismatchError
        What has its name here holds other weights.
    """
    pinned = None if recipe.revision in ("bundled", "local") else recipe.revision
    info = resolve_encoder(recipe.encoder, revision=pinned)
    if info.weights_sha256 != recipe.weights_sha256:
        raise RecipeMismatchError(
            f"encoder {recipe.encoder!r} has other weights here ({info.weights_sha256[:12]}) than the recipe names "
            f"({recipe.weights_sha256[:12]}): use the same checkpoint, or extract again",
            (("weights_sha256", recipe.weights_sha256, info.weights_sha256),),
        )
    return info


def _find_named(encoder: str, window_seconds: float) -> tuple[EncoderInfo, Recipe]:
    """Find an encoder by name, and write the recipe of a training that begins from it.

    Raises
    ------
    EncoderError
        There is no such encoder.
    ParameterError
        A window that is no number of seconds.
    """
    require_number("window_seconds", window_seconds, 0.05)
    info = resolve_encoder(encoder)
    if info.native_seconds is not None and window_seconds == _WINDOW_SECONDS:
        window_seconds = min(window_seconds, info.native_seconds)
    require_number("window_seconds", window_seconds, 0.05, info.native_seconds or 3600)
    recipe = Recipe(
        encoder=info.id,
        revision=info.revision,
        weights_sha256=info.weights_sha256,
        layers=(info.n_layers - 1,),
        window_seconds=float(window_seconds),
        hop_seconds=float(window_seconds),
        min_tail_seconds=min(1.0, window_seconds / 2),
        sample_rate=info.sample_rate,
        normalize=info.normalize,
        frontend=info.frontend,
        padding=info.paddings[0],
    )
    return info, recipe


def make_finetune(**parameters: Any) -> FineTuneClassifier:
    """Return an unfitted classifier from parameters of `FineTuneClassifier` and of `Augmentation`, all by name.

    Raises
    ------
    ParameterError
        A name that neither has.

    Examples
    --------
    >>> make_finetune(epochs=3, mixup_alpha=0.2).augmentation.mixup_alpha
    0.2
    """
    varied = {field.name: parameters.pop(field.name) for field in fields(Augmentation) if field.name in parameters}
    known = FineTuneClassifier._get_param_names()
    for name in parameters:
        if name not in known:
            allowed = [*known, *(field.name for field in fields(Augmentation))]
            raise ParameterError(unknown_name("parameter of head 'finetune'", name, allowed))
    if varied:
        parameters["augmentation"] = Augmentation(**varied)
    return FineTuneClassifier(**parameters)
