"""The ways to embed a folder of clips that are compared: what people write with transformers, and embedx."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import soundfile
import torch

from benchmarks.throughput.material import RATE
from embedx.audio.decode import decode
from embedx.extract.compute import ClipEncoder, Window
from embedx.extract.planning import RecipePlan
from embedx.extract.unit_runner import UnitRunner, plan_units
from embedx.manifest import Manifest
from embedx.recipe import Resources

PRECISION = {"loop_bf16": "bfloat16", "embedx_bf16": "bfloat16", "embedx_bf16_encoder_only": "bfloat16"}
"""What a method computes in, where it is not float32."""


def make_methods(encoder: str, paths: list[Path]) -> tuple[dict[str, Callable[[list[Path]], object]], dict[str, str]]:
    """Return the methods by name, and what is to be said of those that cannot run."""
    from transformers import AutoFeatureExtractor, AutoModel, pipeline

    extractor, model = AutoFeatureExtractor.from_pretrained(encoder), AutoModel.from_pretrained(encoder).eval()
    half = AutoModel.from_pretrained(encoder).eval().to(torch.bfloat16)

    def read(path: Path) -> Any:
        from torchaudio.functional import resample

        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        return resample(torch.from_numpy(samples.mean(axis=1)), rate, RATE).numpy()

    @torch.inference_mode()
    def loop(files: list[Path], net: Any = model) -> None:
        for path in files:
            values = extractor(read(path), sampling_rate=RATE, return_tensors="pt").input_values
            states = net(values.to(net.dtype), output_hidden_states=True).hidden_states
            torch.stack([state[0].float().mean(0) for state in states])

    @torch.inference_mode()
    def padded(files: list[Path]) -> None:
        for start in range(0, len(files), 8):
            waves = [read(path) for path in files[start : start + 8]]
            inputs = extractor(waves, sampling_rate=RATE, return_tensors="pt", padding=True, return_attention_mask=True)
            states = model(**inputs, output_hidden_states=True).hidden_states
            [state.mean(1) for state in states]

    notes, methods = {}, {"loop_fp32": loop, "padded_batch_fp32": padded, "loop_bf16": lambda f: loop(f, half)}
    try:
        piped = pipeline("feature-extraction", model=model, feature_extractor=extractor)
        piped(read(paths[0]))
        methods["pipeline_fp32"] = lambda files: [piped(read(path)) for path in files]
    except Exception as error:
        notes["pipeline_fp32"] = f"does not take audio: {type(error).__name__}: {str(error).splitlines()[0][:150]}"
    return {**methods, **embedx_methods(encoder, paths)}, notes


def embedx_methods(encoder: str, paths: list[Path]) -> dict[str, Callable[[list[Path]], object]]:
    """embedx end to end, and its encoder alone on samples that lie decoded in memory; clips unwindowed."""
    methods: dict[str, Callable[[list[Path]], object]] = {}
    for dtype, short in (("bfloat16", "bf16"), ("float32", "fp32")):
        plan = RecipePlan({"window_seconds": 1000.0, "compute_dtype": dtype}, encoder=encoder)
        runner = UnitRunner(plan.recipe, plan.info, Resources(device="cpu"), paths[0].parent)
        methods[f"embedx_{short}"] = lambda files, runner=runner: [
            runner(unit) for unit in plan_units(Manifest.from_paths(files, root=files[0].parent))
        ]
    alone = ClipEncoder(plan.recipe.replace(compute_dtype="bfloat16"), plan.info, Resources(device="cpu"))
    decoded = {path: decode(path) for path in paths}
    methods["embedx_bf16_encoder_only"] = lambda files: list(
        alone.encode(Window(i, 0, decoded[path]) for i, path in enumerate(files))
    )
    return methods
