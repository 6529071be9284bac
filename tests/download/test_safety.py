"""Hostile lists, servers and titles: refused or bounded, and nothing secret is written anywhere."""

import csv as csv_module
import gzip
import io
import json
import os
import re
import sys
import zlib

import numpy as np
import pytest
import soundfile
from yt_dlp.extractor.common import InfoExtractor

from embedx.download import ssrf
from embedx.download.status import StatusError

pytestmark = pytest.mark.download

HOSTILE = "../../../etc/passwd\x00\n\r=cmd|' /C calc'!A0; $(rm -rf ~) \u202e" + "é" * 4000


class HostileIE(InfoExtractor):
    """A site whose every text is an attack."""

    _VALID_URL = r"http://127\.0\.0\.1:\d+/hostile/(?P<id>\w+)"

    def _real_extract(self, url):
        facts = self._download_json(url, self._match_id(url))
        return {
            "id": HOSTILE,
            "title": HOSTILE,
            "uploader": HOSTILE,
            "license": HOSTILE,
            "channel_id": HOSTILE,
            **facts,
        }


def test_hostile_titles_never_reach_a_path(site, files, write_csv, run_job, tmp_path):
    media = site.add("/a.webm", file=files["webm"])
    form = {"format_id": "../x", "ext": "webm", "vcodec": "none", "url": media}
    url = site.add("/hostile/v", text=json.dumps({"formats": [form]}).encode(), type="application/json")
    csv = write_csv([(url, HOSTILE.replace("\x00", ""))])
    report, entries = run_job(csv, options={"extractors": (HostileIE,)})
    assert report.n_ok == 1
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))
    tables = r"journal\.jsonl|manifest\.csv|failures\.csv|summary\.json|\.lock"
    allowed = rf"links\.csv|out(/({tables}|audio|audio/[0-9a-f]{{16}}\.flac))?"
    assert all(re.fullmatch(allowed, name) for name in names), names
    with open(report.output / "manifest.csv", newline="") as stream:
        row = next(csv_module.DictReader(stream))
    assert "\n" not in row["title"]
    assert len(row["title"]) <= 301
    assert entries[2]["title"].startswith("../../")


def test_formulas_do_not_survive_into_tables(site, files, write_csv, run_job):
    media = site.add("/a.webm", file=files["webm"])
    facts = {"title": "=HYPERLINK(1)", "formats": [{"format_id": "a", "ext": "webm", "vcodec": "none", "url": media}]}
    url = site.add("/hostile/v", text=json.dumps(facts).encode(), type="application/json")
    report, _ = run_job(write_csv([(url, "a"), ("=1+1", "a")]), options={"extractors": (HostileIE,)})
    assert "'=HYPERLINK(1)" in (report.output / "manifest.csv").read_text()
    assert "'=1+1" in (report.output / "failures.csv").read_text()


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:1/x", "http://localhost/x", "http://[::1]/x", "http://10.0.0.1/x"]
)
def test_private_addresses_are_refused(target, fetch):
    with pytest.raises(StatusError) as caught:
        fetch(target, allow_private=False)
    assert caught.value.reason == "invalid_url"
    assert "--allow-private" in str(caught.value)


def test_a_redirect_to_elsewhere_is_refused(site, files, fetch, monkeypatch):
    """The first host counts as public here; where it sends us does not."""
    secret = site.add("/secret", text=b"the machine's own secrets")
    url = site.add("/a.mp3", redirect=secret.replace("127.0.0.1", "localhost"))
    private = ssrf.is_private_host
    monkeypatch.setattr(ssrf, "is_private_host", lambda host: host != "127.0.0.1" and private(host))
    with pytest.raises(StatusError) as caught:
        fetch(url, allow_private=False)
    assert caught.value.reason == "invalid_url"
    assert not site.requests("/secret")


def test_a_name_that_resolves_to_this_machine_is_refused(site, files, fetch, monkeypatch):
    """The name looks public; the address it has does not."""
    import socket

    url = site.add("/a.mp3", file=files["mp3"]).replace("127.0.0.1", "media.example.org")
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **facts: real("127.0.0.1", *rest, **facts))
    with pytest.raises(StatusError) as caught:
        fetch(url, allow_private=False)
    assert caught.value.reason == "invalid_url"
    assert not site.seen


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:audio/wav;base64,AAAA"])
def test_a_redirect_to_another_scheme_is_refused(target, site, fetch):
    with pytest.raises(StatusError):
        fetch(site.add("/a.mp3", redirect=target))


def test_media_elsewhere_named_by_a_page_is_refused(site, files, fetch):
    """An extractor's format that points to a file of this machine is not opened."""
    form = {"format_id": "a", "ext": "wav", "vcodec": "none", "url": "file:///etc/passwd"}
    url = site.add("/hostile/v", text=json.dumps({"formats": [form]}).encode(), type="application/json")
    with pytest.raises(StatusError) as caught:
        fetch(url, extractors=(HostileIE,))
    assert "file" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile {}\n"]
)
def test_playlists_do_not_open_files(text, site, tmp_path, fetch, files):
    listing = tmp_path / "list.bin"
    listing.write_text(text.format(files["wav"]))
    for place in (site.add("/list.mp3", file=listing, type="audio/mpeg"), listing):
        with pytest.raises(StatusError) as caught:
            fetch(place)
        assert caught.value.reason in ("no_audio", "corrupt")


def test_pages_that_unpack_to_too_much_are_refused(site, fetch, monkeypatch):
    monkeypatch.setattr(ssrf, "_MAX_PAGE_BYTES", 2**20)
    bomb = gzip.compress(bytes(50 * 2**20))
    url = site.add("/page", text=bomb, headers={"Content-Encoding": "gzip"})
    with pytest.raises(StatusError):
        fetch(url)
    flat = site.add("/flat", text=b"<html>" + bytes(2 * 2**20))
    with pytest.raises(StatusError):
        fetch(flat)
    assert zlib.decompress(bomb, wbits=31)[:1] == b"\0"


def test_packed_ranges_are_refused(site, files, fetch):
    url = site.add("/a.flac", file=files["flac"], headers={"Content-Encoding": "x-packed"})
    with pytest.raises(StatusError) as caught:
        fetch(url)
    assert caught.value.reason == "corrupt"


def test_hours_of_silence_do_not_fill_the_memory(tmp_path, fetch):
    """A small file that decodes to hours: the whole of it is refused, a section of it is not."""
    path = tmp_path / "bomb.flac"
    with soundfile.SoundFile(path, "w", 8_000, 1, "PCM_16", format="FLAC") as out:
        block = np.zeros(8_000 * 600, np.int16)
        for _ in range(30):
            out.write(block)
    with pytest.raises(StatusError) as caught:
        fetch(path, seconds=None)
    assert caught.value.reason == "too_long"
    assert len(fetch(path, seconds=2.0).section.samples) == 32_000


def test_works_with_an_empty_path(site, files, write_csv, tmp_path, embedx_download):
    urls = [site.add(f"/{kind}{files[kind].suffix}", file=files[kind]) for kind in ("m4a", "webm", "mp3")]
    csv = write_csv([(url, "a") for url in urls])
    env = {**os.environ, "PATH": "", "HOME": str(tmp_path / "none")}
    done = embedx_download(csv, tmp_path / "out", "--allow-private", "--seconds", "2", env=env)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out" / "audio").iterdir())) == 3


COOKIE = "c00kie-value-nobody-may-see"
SIGNED = "s1gnature-nobody-may-see"


@pytest.mark.parametrize("well", [True, False])
def test_no_cookie_and_no_signed_address_in_any_output(well, site, files, write_csv, tmp_path, embedx_download):
    jar = tmp_path / "cookies.txt"
    jar.write_text(f"# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\t{COOKIE}\n")
    before = jar.read_bytes()
    url = site.add("/a.flac", file=files["flac"], always=None if well else 403) + f"?id=7&Signature={SIGNED}"
    csv = write_csv([(url, "a")])
    out = tmp_path / "out"
    words = [csv, out, "--allow-private", "--seconds", "2", "--cookies", jar, "--debug"]
    done = embedx_download(*words)
    assert done.returncode == (0 if well else 3), done.stderr
    assert any(COOKIE in one.headers.get("Cookie", "") for one in site.seen), "the cookie was never sent"
    written = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    shown = (
        done.stdout
        + done.stderr
        + embedx_download(*words, "--check").stdout
        + embedx_download(*words, "--dry-run").stdout
    )
    for secret in (COOKIE, SIGNED):
        assert secret.encode() not in written
        assert secret not in shown
    assert jar.read_bytes() == before


@pytest.mark.parametrize("text", [None, "", "not cookies", '{"json": 1}'])
def test_cookie_files_that_are_none(text, write_csv, tmp_path, embedx_download):
    jar = tmp_path / "cookies.txt"
    if text is not None:
        jar.write_text(text)
    done = embedx_download(write_csv([("dQw4w9WgXcQ", "a")]), tmp_path / "out", "--cookies", jar)
    assert done.returncode == 2
    assert "--cookies" in done.stderr
    assert done.stderr.count("\n") == 1


def test_nothing_is_printed_by_yt_dlp(site, fetch, capfd):
    with pytest.raises(StatusError):
        fetch(site.add("/a.mp3", always=404))
    assert capfd.readouterr() == ("", "")
    assert isinstance(sys.stdout, io.TextIOBase) or sys.stdout is not None
