"""A whole model as ONNX: waveform in, probabilities out."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedx.audio.windows import WindowPlan
from embedx.errors import EncoderError, MissingExtraError, ModelFormatError
from embedx.model.export import HeadGraph, import_onnx, require_place, write_graph
from embedx.model.model import Model
from embedx.recipe import pinned_revision

__all__ = ["export_whole"]

_OPSET = 18
_INPUTS = ("waveform", "n_samples")
_LENGTHS = (0.1, 0.45, 0.7, 1.0)
"""Seconds of the clips of noise on which a graph is compared with the model, all in one batch."""


def export_whole(model: Model, place: str | os.PathLike[str]) -> float | None:
    """Write a whole model as one ONNX file: normalisation, encoder, pooling, layer, head and calibration.

    The graph takes ``waveform``, float32 (batch, samples), mono at the recipe's sample rate, within -1 to 1, with
    anything behind a clip's end, and ``n_samples``, int64 (batch,), the samples of each clip that are real. It gives
    ``probabilities``, float32 (batch, n_classes), and ``label``, text (batch,): a clip's are the same in any batch.
    A row is one window: a clip that is longer than the recipe's ``window_seconds`` is computed in one piece, where
    embedx cuts it. Recipe, classes, ``sample_rate``, and the least and most samples of a row (``least_samples``,
    ``most_samples``) lie in the file's metadata.

    Parameters
    ----------
    model : Model
        A head on embeddings that `export_onnx` can write, or a fine-tuned network; its encoder reads waveforms and is
        of the kind wav2vec2, hubert, unispeech or unispeech-sat.
    place : path-like
        File to write; an older export is replaced whole or not at all, anything else is refused.

    Returns
    -------
    float or None
        Largest difference of a probability on a batch of noise; None when onnxruntime is not installed.

    Raises
    ------
    ModelFormatError
        The head or the encoder cannot be written as ONNX, the file cannot be written, or its answers differ by more
        than `embedx.model.export.TOLERANCE`.
    EncoderError
        The encoder cannot be had.
    MissingExtraError
        The packages onnx and onnxscript are not installed.

    Examples
    --------
    >>> import tempfile
    >>> from embedx import fit_model
    >>> from embedx.testing import make_dataset
    >>> model = fit_model(make_dataset(), "logmel")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export_whole(model, f"{folder}/model.onnx")  # needs embedx[onnx]
    Traceback (most recent call last):
    embedx.errors.ModelFormatError: head 'logmel' hears log-mel statistics...
    """
    if model.input_kind == "control":
        raise ModelFormatError(f"head {model.head!r} hears log-mel statistics, which are no part of a whole graph")
    require_place(place)
    onnx = import_onnx()
    _import_onnxscript()
    parts = _Network.of_head(model) if model.input_kind == "embeddings" else _Network.of_classifier(model)
    graph = HeadGraph(onnx, model, opset=_OPSET)
    graph.now = parts.output
    if model.input_kind == "embeddings":
        graph.add_head()
    graph.add_answers()
    proto = _joined(onnx, _traced(parts.module, parts), graph, parts)
    content = proto.SerializeToString()
    difference = _difference(content, parts)
    write_graph(place, content, difference)
    return difference


def _import_onnxscript() -> None:
    try:
        import onnxscript  # noqa: F401
    except ImportError:
        raise MissingExtraError.for_extra("onnxscript", "onnx", "embedx export --whole") from None


class _Network:
    """What is written before the head, and what it is compared with.

    Parameters
    ----------
    module : torch.nn.Module
        Takes waveforms and their lengths.
    output : str
        Name of what it gives.
    model : Model
        The model.
    least : int
        Samples of one frame.
    answer : callable
        Gives the model's own probabilities of waveforms.
    """

    def __init__(self, module: Any, output: str, model: Model, least: int, answer: Any) -> None:
        self.module, self.output, self.model, self.least, self._answer = module.eval(), output, model, least, answer

    @classmethod
    def of_head(cls, model: Model) -> _Network:
        import torch

        from embedx.encoders.checkpoint import load_model
        from embedx.encoders.families import FAMILIES
        from embedx.encoders.padded_encoder import PaddedEncoder
        from embedx.encoders.resolve import resolve_encoder
        from embedx.encoders.waveform import WaveformEncoder

        recipe = model.recipe
        info = resolve_encoder(recipe.encoder, revision=pinned_revision(recipe.revision))
        if info.weights_sha256 != recipe.weights_sha256:
            raise EncoderError(f"encoder {recipe.encoder!r} has other weights than the model was trained on")
        if info.model_type in FAMILIES:
            raise _reads_spectrograms(model)
        with _one_line(model):
            module = PaddedEncoder(
                load_model(info),
                normalized=recipe.normalize,
                layers=recipe.layers,
                pooling=recipe.pooling,
                store_dtype=getattr(torch, recipe.store_dtype),
            )
        own = WaveformEncoder(info, layers=recipe.layers)

        def answer(clips: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
            rows = own.pooled(clips, recipe.pooling).reshape(len(clips), -1)
            return model.probabilities(rows.astype(recipe.store_dtype))

        return cls(module, "embeddings", model, own.min_samples, answer)

    @classmethod
    def of_classifier(cls, model: Model) -> _Network:
        from embedx.encoders.padded_encoder import PaddedClassifier

        if model.input_kind != "sources":
            raise ModelFormatError(
                f"head {model.head!r} hears log-mel statistics, which are no part of a graph: export it alone"
            )
        network = model.estimator.network_
        if network.info is not None:
            raise _reads_spectrograms(model)
        with _one_line(model):
            module = PaddedClassifier(
                network.base,
                network.model.projector,
                network.model.classifier,
                normalized=network.normalized,
                attention=network.attention,
            )

        def answer(clips: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
            import torch

            with torch.inference_mode():
                proba = torch.softmax(network.logits(clips).double(), dim=1).cpu().numpy()
            return proba if model.calibration is None else model.calibration.apply(proba)

        return cls(module, "scores", model, network.min_samples, answer)

    def clips(self) -> list[NDArray[np.float32]]:
        """Return noise of several lengths, the shortest that can be among them."""
        rng, rate = np.random.default_rng(0), self.model.recipe.sample_rate
        lengths = [self.least, *(max(self.least, int(seconds * rate)) for seconds in _LENGTHS)]
        return [rng.normal(0.01, 0.1, n).astype(np.float32) for n in lengths]

    def expected(self, clips: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
        """Return the model's own probabilities."""
        return self._answer(clips)


def _reads_spectrograms(model: Model) -> ModelFormatError:
    name = model.recipe.encoder
    return ModelFormatError(f"{name!r} cannot be exported whole: it reads spectrograms, which are no part of a graph")


@contextmanager
def _one_line(model: Model) -> Iterator[None]:
    try:
        yield
    except EncoderError as error:
        raise ModelFormatError(f"{model.recipe.encoder!r} cannot be exported whole: {error}") from error


def _batch(clips: Sequence[NDArray[np.float32]]) -> dict[str, NDArray[Any]]:
    """Lay clips beside each other, with something in the padding that would be heard."""
    waveform = np.full((len(clips), max(map(len, clips))), 0.3, np.float32)
    for row, clip in zip(waveform, clips, strict=True):
        row[: len(clip)] = clip
    return {"waveform": waveform, "n_samples": np.array([len(clip) for clip in clips], dtype=np.int64)}


def _traced(module: Any, parts: _Network) -> Any:
    """Write a torch module as a graph of any batch and any length."""
    import torch

    example = tuple(map(torch.from_numpy, _batch(parts.clips()[-2:]).values()))
    batch, samples = torch.export.Dim("batch"), torch.export.Dim("samples", min=parts.least)
    with _quiet():
        program = torch.onnx.export(
            module,
            example,
            dynamo=True,
            opset_version=_OPSET,
            input_names=list(_INPUTS),
            output_names=[parts.output],
            dynamic_shapes={"waveform": {0: batch, 1: samples}, "n_samples": {0: batch}},
            verbose=False,
        )
    assert program is not None
    return program.model_proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what torch tells its developers to itself."""
    loud = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loud]
    for logger in loud:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loud, levels, strict=True):
            logger.setLevel(level)


def _joined(onnx: Any, proto: Any, graph: HeadGraph, parts: _Network) -> Any:
    """Put the head behind the network."""
    proto.graph.node.extend(graph.nodes)
    proto.graph.initializer.extend(graph.constants)
    del proto.graph.output[:]
    proto.graph.output.extend(graph.outputs("batch"))
    del proto.opset_import[:]
    proto.opset_import.extend(graph.opsets())
    proto.producer_name, proto.producer_version, proto.graph.name = "embedx", "", "embedx_model"
    del proto.metadata_props[:]
    for node in proto.graph.node:
        del node.metadata_props[:]  # lines of source code, with the paths of this machine
        node.doc_string = ""
    most = WindowPlan.from_recipe(parts.model.recipe).window_samples
    graph.add_facts(proto, sample_rate=parts.model.recipe.sample_rate, least_samples=parts.least, most_samples=most)
    return proto


def _difference(content: bytes, parts: _Network) -> float | None:
    try:
        import onnxruntime
    except ImportError:
        return None
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    clips = parts.clips()
    (found,) = session.run(["probabilities"], _batch(clips))
    return float(np.abs(found - parts.expected(clips)).max())
