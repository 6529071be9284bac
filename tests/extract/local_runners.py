"""The real pipeline around encoders and decoders that die, hang, refuse or lack memory. Importable by workers."""

import ctypes
import os
import signal
import threading
import time
from multiprocessing.connection import Connection

import numpy as np

import embedx.audio.decode_pool
import embedx.extract.compute
from embedx.encoders.base import EncoderInfo, Frames
from embedx.errors import EncoderError
from embedx.extract.unit_runner import UnitRunner
from embedx.recipe import Recipe, Resources
from embedx.testing import FakeEncoder

DEADLY_DECODER = """
import json, sys, os
sys.path[:] = json.loads(sys.argv[1])
import embedx.audio.decode_worker as worker
whole = worker.load_clip
worker.load_clip = lambda request, **more: os._exit(5) if "decoder" in request.path else whole(request, **more)
worker.main()
"""

SLOW_DECODER = """
import json, sys, time
sys.path[:] = json.loads(sys.argv[1])
import embedx.audio.decode_worker as worker
whole = worker.load_clip
def load_clip(request, heartbeat):
    end = time.monotonic() + 8 * request.path.endswith("slow.wav")
    while time.monotonic() < end:
        heartbeat()
        time.sleep(0.1)
    yield from whole(request, heartbeat=heartbeat)
worker.load_clip = load_clip
worker.main()
"""


class TouchyEncoder(FakeEncoder):
    """Dies or hangs in the way that a clip's first sample asks for; anything below 0.5 is left in peace."""

    def encode(self, batch):
        """Encode, or die."""
        for samples in batch:
            self._suffer(round(float(samples[0]), 1))
        return super().encode(batch)

    def _suffer(self, how):
        if how == 0.5:
            os._exit(9)
        if how == 0.6:
            ctypes.string_at(0)
        if how == 0.7:
            os.kill(os.getpid(), signal.SIGKILL)
        if how == 0.8:
            raise RuntimeError("device-side assert triggered")
        if how == 0.9:
            os.kill(os.getpid(), signal.SIGSTOP)
        if how == 1.0:
            threading.Event().wait()


class NarrowEncoder(FakeEncoder):
    """Holds two seconds at a time."""

    def encode(self, batch):
        """Encode, or run out of memory."""
        if sum(map(len, batch)) > 32_000:
            raise MemoryError
        return super().encode(batch)


class WideEncoder:
    """Rows in the shape of wav2vec2-base, with temporaries that no two windows share, in next to no time."""

    sample_rate, min_samples, n_layers, dim = 16_000, 400, 13, 768

    def encode(self, batch):
        """One product, and as many layers."""
        import torch

        with torch.inference_mode():
            frames = [
                torch.from_numpy(np.array(samples[: len(samples) // 320 * 320])).view(-1, 320) for samples in batch
            ]
            padded = torch.nn.utils.rnn.pad_sequence(frames, batch_first=True)
            first = torch.tanh(padded @ torch.ones(320, self.dim))
            return Frames([first * layer for layer in range(self.n_layers)], [len(clip) for clip in frames])


class FakeRunner(UnitRunner):
    """Units through the real decoding and pooling, with an encoder that `make_encoder` gives."""

    seconds_at_start = 0.0

    @classmethod
    def over(cls, root, **resources):
        """A runner of the clips below a folder."""
        facts = {"encoder": "fake", "revision": "local", "weights_sha256": "0"}
        info = EncoderInfo(
            id="fake", location=".", revision="local", weights_sha256="0", model_type="fake", n_layers=3, dim=8
        )
        chosen = Resources(**{"device": "cpu", "workers": 1, **resources})
        return cls(Recipe(**facts, layers=(0, 1, 2)), info, chosen, root)

    modules = ("torch", "torchaudio.transforms", "embedx.testing")
    decoder = DEADLY_DECODER

    def make_encoder(self):
        """Return the encoder."""
        return TouchyEncoder()

    def prefetch(self, unit):
        """Begin to decode, with a decoder that is no better than the encoder."""
        embedx.audio.decode_pool._START = self.decoder
        super().prefetch(unit)

    def load(self):
        """Load the fake encoder."""
        embedx.extract.compute.load_encoder = lambda *_, **__: self.make_encoder()
        super().load()


class NotingRunner(FakeRunner):
    """Leaves a file for each unit that names the process."""

    def __call__(self, unit, **options):
        """Note, and compute."""
        (self.root / f"note-{os.getpid()}-{unit.number}").touch()
        time.sleep(0.3)
        return super().__call__(unit, **options)


class PatientRunner(FakeRunner):
    """Decodes slowly."""

    decoder = SLOW_DECODER


class MumblingRunner(FakeRunner):
    """Stops in the middle of what it says about a unit."""

    def __call__(self, unit, **options):
        """Compute, and spoil the connection."""
        results = super().__call__(unit, **options)
        Connection._send = _send_half
        return results


def _send_half(connection, words):
    os.write(connection.fileno(), words[: len(words) // 2])
    os.kill(os.getpid(), signal.SIGSTOP)


class LingeringRunner(FakeRunner):
    """Is never done with loading the weights."""

    def make_encoder(self):
        """Wait for ever."""
        threading.Event().wait()


class RefusingRunner(FakeRunner):
    """Has other weights than the recipe."""

    def make_encoder(self):
        """Refuse."""
        raise EncoderError("the weights of 'fake' have another hash than the recipe")


class StillbornRunner(FakeRunner):
    """Dies while the weights are loaded."""

    def make_encoder(self):
        """Die."""
        os._exit(3)


class WideRunner(FakeRunner):
    """Gives rows as large as those of wav2vec2-base."""

    def make_encoder(self):
        """Return an encoder of large rows."""
        return WideEncoder()


class NarrowRunner(FakeRunner):
    """Sees batches, as on a GPU, and has little memory."""

    def load(self):
        """Load, and batch as on a GPU."""
        embedx.extract.compute.ClipEncoder.on_gpu = property(lambda self: True)
        super().load()

    def make_encoder(self):
        """Return an encoder with little memory."""
        return NarrowEncoder()
