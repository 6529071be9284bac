"""Which files of a folder are audio: by their ending, and by their first bytes where the ending says nothing."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["AUDIO_SUFFIXES", "OTHER_SUFFIXES", "ending_of", "holds_audio", "is_audio_name"]

_AUDIO = (
    ".3g2 .3ga .3gp .aac .ac3 .adts .aif .aifc .aiff .amr .ape .asf .au .avi .awb .bwf .caf .dff .dsf .dts .eac3 "
    ".flac .flv .m2a .m4a .m4b .m4r .m4v .mka .mkv .mov .mp1 .mp2 .mp3 .mp4 .mpa .mpc .mpeg .mpg .mpga .nist .oga "
    ".ogg .ogv .opus .ra .rf64 .rm .snd .spx .sph .tta .voc .w64 .wav .wave .weba .webm .wma .wmv .wv"
)
AUDIO_SUFFIXES = frozenset(_AUDIO.split())
"""File endings that a folder is searched for; a CSV may name any file."""

_OTHER = (
    ".bak .bin .bmp .c .cfg .conf .cpp .crdownload .css .csv .cue .doc .docx .download .eaf .gif .gz .h .h5 .hdf5 "
    ".heic .htm .html .ini .ipynb .jams .jpeg .jpg .js .json .jsonl .lab .log .m3u .m3u8 .mat .md .md5 .mid .midi "
    ".npy .npz .parquet .part .partial .pdf .pickle .pkl .png .pt .pth .py .r .rar .rst .rtf .sfk .sh .svg .tar "
    ".textgrid .tgz .tif .tiff .tmp .toml .tsv .txt .webp .xls .xlsx .xml .yaml .yml .zip .7z"
)
OTHER_SUFFIXES = frozenset(_OTHER.split())
"""Endings of what is no audio, or only part of a file: never opened."""

_FIRST_BYTES = (
    (b"#!AMR", b".RMF", b".ra\xfd", b".snd", b"0&\xb2u\x8ef\xcf\x11", b"\x00\x00\x01\xba", b"\x0bw", b"\x1aE\xdf\xa3")
    + (b"\x7f\xfe\x80\x01", b"Creative Voice File", b"DSD ", b"FLV\x01", b"FRM8", b"ID3", b"MAC ", b"MP+", b"MPCK")
    + (b"NIST_1A", b"OggS", b"TTA1", b"TTA2", b"ajkg", b"caff", b"fLaC", b"riff.\x91\xcf\x11", b"wvpk")
)
_PICTURES = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"mif1", b"msf1")
_MPEG_FRAMES = b"\xfb\xfa\xf3\xf2\xe3\xe2\xfd\xfc\xf5\xf4\xf1\xf9\xf0\xf8"
"""Second byte of a frame of MPEG audio or ADTS."""


def ending_of(name: str) -> str:
    """Return the ending in small letters, with its dot; empty where the name has none that could be one.

    Examples
    --------
    >>> ending_of("a.WAV"), ending_of("XC12345"), ending_of("rec.20190101"), ending_of("v1.first take")
    ('.wav', '', '', '')
    """
    ending = os.path.splitext(name)[1].lower()
    good = 1 < len(ending) <= 12 and ending[1:].isalnum() and not ending[1:].isdigit()
    return ending if good else ""


def is_audio_name(name: str) -> bool:
    """Say whether a name has an ending of audio."""
    return ending_of(name) in AUDIO_SUFFIXES


def holds_audio(path: str | os.PathLike[str]) -> bool:
    """Say whether the first bytes of a file are those of a format that FFmpeg reads and that may hold sound.

    Nothing is decoded: this is one short read, for files whose ending says nothing.
    """
    if not os.path.isfile(path):
        return False
    try:
        with Path(path).open("rb") as file:
            head = file.read(400)
    except OSError:
        return False
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64"):
        return head[8:12] in (b"WAVE", b"AVI ")
    if head[:4] == b"FORM":
        return head[8:12] in (b"AIFF", b"AIFC", b"8SVX")
    if head[4:8] == b"ftyp":
        return head[8:12] not in _PICTURES
    return head.startswith(_FIRST_BYTES) or _is_mpeg_frame(head) or _is_transport_stream(head)


def _is_mpeg_frame(head: bytes) -> bool:
    if len(head) < 4 or head[0] != 0xFF or head[1] not in _MPEG_FRAMES:
        return False
    adts = head[1] & 0x06 == 0
    return (head[2] >> 2) & 0xF < 13 if adts else head[2] >> 4 not in (0, 15) and (head[2] >> 2) & 3 != 3


def _is_transport_stream(head: bytes) -> bool:
    return len(head) > 376 and head[0] == head[188] == head[376] == 0x47
