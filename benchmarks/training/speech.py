"""Speech that espeak-ng synthesises, with the phoneme that is sounding at every frame.

The library of espeak-ng is called directly, because only it tells when each phoneme begins. Debian: ``espeak-ng``.
"""

from __future__ import annotations

import ctypes
import functools
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from .hearing import FIELD, HOP, RATE, Stream, n_frames, resample
from .vocabulary import ACCENTS, LANGUAGES, ONSETS, VARIANTS, VOWELS, WORDS

UNKNOWN = -1
_SYNCHRONOUS, _PHONEMES_IN_IPA, _RATE, _PITCH, _UTF8 = 2, 0x8003, 1, 3, 1
_END_OF_LIST, _PHONEME = 0, 7
_LANGUAGE_SWITCH = re.compile(r"\(.*\)")
_MARKS = re.compile(r"[ːˑ:#ˈˌʰʲ̩̪̺̯͡]")


class _Identity(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Identity),
    )


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Synthesiser:
    """espeak-ng in this process (it has one voice at a time, so one synthesiser is enough)."""

    def __init__(self) -> None:
        self._library = _library()
        self.rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, None, _PHONEMES_IN_IPA)
        self._callback = _CALLBACK(self._hear)  # kept: the library holds no reference
        self._library.espeak_SetSynthCallback(self._callback)
        self._audio: list[np.ndarray] = []
        self._phonemes: list[tuple[int, str]] = []

    def say(self, text: str, voice: str, *, rate: int, pitch: int) -> tuple[np.ndarray, list[tuple[int, str]]]:
        """Return samples (n,) float32 at `self.rate`, and (first sample, phoneme in IPA) one by one."""
        self._audio.clear()
        self._phonemes.clear()
        if self._library.espeak_SetVoiceByName(voice.encode()):
            raise ValueError(f"espeak-ng has no voice {voice!r}")
        self._library.espeak_SetParameter(_RATE, rate, 0)
        self._library.espeak_SetParameter(_PITCH, pitch, 0)
        spoken = text.encode()
        self._library.espeak_Synth(spoken, len(spoken) + 1, 0, 1, 0, _UTF8, None, None)
        return np.concatenate([np.zeros(0, np.int16), *self._audio]).astype(np.float32) / 32768, list(self._phonemes)

    def _hear(self, samples: ctypes._Pointer, n: int, events: ctypes._Pointer) -> int:
        if samples and n:
            self._audio.append(np.ctypeslib.as_array(samples, (n,)).copy())
        i = 0
        while events[i].type != _END_OF_LIST:
            if events[i].type == _PHONEME:
                name = bytes(events[i].id.string).split(b"\0")[0].decode(errors="ignore")
                self._phonemes.append((events[i].sample, name))
            i += 1
        return 0


def _library() -> ctypes.CDLL:
    try:
        return ctypes.CDLL("libespeak-ng.so.1")
    except OSError as error:
        raise RuntimeError(
            "there is no libespeak-ng.so.1: install espeak-ng (Debian: apt-get install espeak-ng)"
        ) from error


@functools.cache
def voice_files() -> dict[str, str]:
    """Return the file of every language's voice: the name that the library wants, in front of a variant."""
    listed = subprocess.run(["espeak-ng", "--voices"], check=True, capture_output=True, text=True).stdout
    files: dict[str, str] = {}
    for line in listed.splitlines()[1:]:
        _, language, _, _, file, *_ = line.split()
        files.setdefault(language, file)
    return files


def sentence(rng: np.random.Generator) -> str:
    """Draw a handful of words: common English and invented syllables. No digit is said."""
    return " ".join(_word(rng) for _ in range(rng.integers(6, 14)))


def _word(rng: np.random.Generator) -> str:
    if rng.random() < 0.65:
        return str(rng.choice(WORDS))
    return "".join(str(rng.choice(ONSETS)) + str(rng.choice(VOWELS)) for _ in range(rng.integers(1, 4)))


def simplified(phonemes: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """Drop length, stress and palatal marks; a switch of language is no sound."""
    spoken = [(start, name) for start, name in phonemes if not _LANGUAGE_SWITCH.fullmatch(name)]
    return [(start, _MARKS.sub("", name)) for start, name in spoken]


def at_frames(phonemes: Sequence[tuple[int, str]], *, rate: int, n: int) -> list[str]:
    """Return which phoneme sounds in the middle of each of the encoder's `n` frames; "" is a pause."""
    starts = np.array([start for start, _ in phonemes]) * (RATE / rate)
    sounding = np.searchsorted(starts, np.arange(n) * HOP + FIELD / 2, side="right") - 1
    return [phonemes[i][1] if i >= 0 else "" for i in sounding]


def utterances(minutes: float, rng: np.random.Generator) -> Iterator[tuple[Stream, list[str]]]:
    """Yield speech with random voices, rates and pitches, and its phonemes; one in twenty is held out."""
    synthesiser, seconds = Synthesiser(), 0.0
    while seconds < minutes * 60:
        language = rng.choice(ACCENTS) if rng.random() < 0.6 else rng.choice(LANGUAGES)
        voice = f"{voice_files()[language]}+{rng.choice(VARIANTS)}"
        spoken = synthesiser.say(sentence(rng), voice, rate=int(rng.integers(100, 220)), pitch=int(rng.integers(5, 95)))
        samples = resample(spoken[0], synthesiser.rate)
        seconds += len(samples) / RATE
        if len(samples) > RATE:
            names = at_frames(simplified(spoken[1]), rate=synthesiser.rate, n=n_frames(len(samples)))
            yield Stream(samples, 2, bool(rng.random() < 0.05)), names


def speech_streams(minutes: float, rng: np.random.Generator, *, n_phonemes: int = 72) -> list[Stream]:
    """Synthesise `minutes` of speech; the `n_phonemes` commonest phonemes become its labels, the rest are unknown."""
    spoken = list(utterances(minutes, rng))
    counts = Counter(name for _, names in spoken for name in names)
    number = {name: i for i, (name, _) in enumerate(counts.most_common(n_phonemes))}
    return [
        replace(stream, phonemes=np.array([number.get(name, UNKNOWN) for name in names], np.int16))
        for stream, names in spoken
    ]
