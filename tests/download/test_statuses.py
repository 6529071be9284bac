"""What a server does wrong decides the status of the row and how often it is asked."""

import itertools
import socket
import time

import pytest
from yt_dlp.extractor.common import InfoExtractor

from embedx.download.rate_limit import Hosts
from embedx.download.status import STATUSES, StatusError, classify_message, clean_message

pytestmark = pytest.mark.download

ANSWERS = {404: ("unavailable", 1), 410: ("unavailable", 1), 451: ("geo_blocked", 1), 401: ("private", 1)}
ANSWERS |= {
    403: ("forbidden", 2),
    429: ("rate_limited", 3),
    500: ("network", 3),
    503: ("network", 3),
    418: ("error", 2),
}


@pytest.mark.parametrize("code", ANSWERS)
def test_http_answers(code, site, write_csv, run_job):
    word, n_requests = ANSWERS[code]
    csv = write_csv([(site.add("/a.mp3", always=code), "a")])
    report, entries = run_job(csv)
    assert (entries[2]["status"], entries[2]["http_status"]) == (word, code)
    assert entries[2]["attempts"] == n_requests == len(site.seen)
    assert report.table == {word: {"a": 1}}
    assert not list((report.output / "audio").iterdir())


def test_a_web_page_is_no_audio(site, write_csv, run_job):
    csv = write_csv([(site.add("/page", text=b"<html><title>x</title><p>Nothing here</p></html>"), "a")])
    _, entries = run_job(csv)
    assert (entries[2]["status"], len(site.seen)) == ("no_audio", 1)


def test_a_web_page_labelled_audio_is_corrupt(site, write_csv, run_job):
    csv = write_csv([(site.add("/a.mp3", text=b"<html>Please log in</html>", type="audio/mpeg"), "a")])
    _, entries = run_job(csv)
    assert (entries[2]["status"], entries[2]["attempts"]) == ("corrupt", 2)
    assert "web page" in entries[2]["error"]


def test_a_refused_connection_is_the_network(write_csv, run_job):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    _, entries = run_job(write_csv([(f"http://127.0.0.1:{port}/a.mp3", "a")]))
    assert (entries[2]["status"], entries[2]["attempts"]) == ("network", 3)


def test_a_name_that_is_none_is_the_network(write_csv, run_job):
    _, entries = run_job(write_csv([("http://no-such-host.invalid/a.mp3", "a")]))
    assert (entries[2]["status"], entries[2]["attempts"]) == ("network", 3)


def test_a_server_that_hangs_is_the_network(site, write_csv, run_job):
    csv = write_csv([(site.add("/a.mp3", hang=True), "a")])
    _, entries = run_job(csv, options={"timeout_seconds": 0.3})
    assert (entries[2]["status"], len(site.seen)) == ("network", 3)


@pytest.mark.parametrize("kind", ["page", "media"])
def test_a_server_that_trickles_meets_the_deadline(kind, site, files, write_csv, fetch):
    """One byte every 0.2 s never runs into the timeout of a single read."""
    path = {"page": "/page", "media": "/a.mp3"}[kind]
    facts = {"type": "text/html"} if kind == "page" else {}
    url = site.add(path, file=files["mp3"], slowly=True, ranges=kind == "media", **facts)
    began = time.monotonic()
    with pytest.raises(StatusError) as caught:
        fetch(url, deadline_seconds=1.0)
    assert caught.value.reason == "network"
    assert "deadline" in str(caught.value)
    assert time.monotonic() - began < 4


def test_twice_unwell_then_well(site, files, write_csv, run_job):
    csv = write_csv([(site.add("/a.mp3", file=files["mp3"], first=[503, 503]), "a")])
    _, entries = run_job(csv)
    assert (entries[2]["status"], entries[2]["attempts"]) == ("ok", 3)


def test_unwell_in_the_middle_of_the_media(site, files, write_csv, run_job):
    csv = write_csv([(site.add("/a", file=files["mp3"], first=[503], from_range=1), "a")])
    _, entries = run_job(csv)
    assert (entries[2]["status"], entries[2]["attempts"]) == ("ok", 2)


def test_too_many_requests_pause_the_host(site, files, write_csv, run_job):
    """The other link of the host waits too, and as long as Retry-After says."""
    urls = [
        site.add("/a.mp3", file=files["mp3"], first=[429], headers={"Retry-After": "1"}),
        site.add("/b.mp3", file=files["mp3"]),
    ]
    _, entries = run_job(write_csv([(url, "a") for url in urls]), jobs=2)
    assert [entries[row]["status"] for row in (2, 3)] == ["ok", "ok"]
    limited = min(one.at for one in site.seen if one.status == 429)
    later = [one.at - limited for one in site.seen if one.at > limited]
    assert min(later) >= 0.95


def test_one_request_at_a_time_on_one_host(site, files, write_csv, run_job):
    urls = [site.add(f"/{i}.flac", file=files["flac"]) for i in range(4)]
    hosts = Hosts(pause_seconds=(0.3, 0.3))
    run_job(write_csv([(url, "a") for url in urls]), jobs=4, hosts=hosts)
    begun = {}
    ended = {}
    for one in site.seen:
        begun.setdefault(one.path, one.at)
        ended[one.path] = one.at
    order = sorted(begun, key=begun.get)
    gaps = [begun[after] - ended[before] for before, after in itertools.pairwise(order)]
    assert min(gaps) >= 0.29


def test_a_host_that_always_fails_is_stopped(site, write_csv, run_job):
    urls = [site.add(f"/{i}.mp3", always=403) for i in range(20)]
    report, _ = run_job(write_csv([(url, "a") for url in urls]), hosts=Hosts(max_failures=10))
    assert len(site.seen) == 10
    assert report.stopped == {site.host: "forbidden"}
    assert sum(report.table["not_tried"].values()) + sum(report.table["forbidden"].values()) == 20
    assert all(not STATUSES[word].is_permanent for word in report.table)


def test_gone_links_do_not_stop_a_host(site, files, write_csv, run_job):
    urls = [site.add(f"/{i}.mp3", always=404) for i in range(20)] + [site.add("/well.mp3", file=files["mp3"])]
    report, _ = run_job(write_csv([(url, "a") for url in urls]), hosts=Hosts(max_failures=10))
    assert report.stopped == {}
    assert report.table == {"ok": {"a": 1}, "unavailable": {"a": 20}}


def test_a_body_that_is_cut_is_no_file_and_heals(site, files, write_csv, run_job):
    url = site.add("/a.flac", file=files["flac"], cut_at=files["flac"].stat().st_size // 2)
    csv = write_csv([(url, "a")])
    report, entries = run_job(csv)
    assert entries[2]["status"] in ("truncated", "network")
    assert not list((report.output / "audio").iterdir())
    site.routes["/a.flac"].cut_at = None
    report, entries = run_job(csv)
    assert entries[2]["status"] == "ok"
    assert report.is_complete


def test_a_server_without_ranges_is_read_whole_under_the_cap(site, files, fetch):
    url = site.add("/a.flac", file=files["flac"], ranges=False)
    fetched = fetch(url)
    assert len(fetched.section.samples) == 64_000
    assert fetched.facts["bytes_fetched"] == files["flac"].stat().st_size
    with pytest.raises(StatusError) as caught:
        fetch(url, max_bytes=files["flac"].stat().st_size - 1)
    assert caught.value.reason == "too_large"


def test_without_ranges_a_cut_body_is_no_file(site, files, fetch):
    url = site.add("/a.flac", file=files["flac"], ranges=False, cut_at=files["flac"].stat().st_size // 2)
    with pytest.raises(StatusError) as caught:
        fetch(url, start=1.0)
    assert caught.value.reason in ("truncated", "network")


def test_ranges_under_the_cap(site, files, fetch):
    with pytest.raises(StatusError) as caught:
        fetch(site.add("/a.flac", file=files["flac"]), max_bytes=100_000)
    assert caught.value.reason == "too_large"


def test_two_versions_are_never_spliced(site, files, fetch):
    url = site.add("/a.flac", file=files["flac"], new_etag_from=300_000)
    with pytest.raises(StatusError) as caught:
        fetch(url)
    assert caught.value.reason == "corrupt"
    assert "changed" in str(caught.value)


def test_longer_sources_are_refused(site, files, fetch):
    with pytest.raises(StatusError) as caught:
        fetch(site.add("/a.flac", file=files["flac"]), max_duration_seconds=39.0)
    assert caught.value.reason == "too_long"


class LoopbackIE(InfoExtractor):
    """A site of the tests: what it says of a video stands in the address."""

    _VALID_URL = r"http://127\.0\.0\.1:\d+/video/(?P<id>[\w-]+)"

    def _real_extract(self, url):
        video_id = self._match_id(url)
        facts = self._download_json(url, video_id)
        if "error" in facts:
            from yt_dlp.utils import ExtractorError

            raise ExtractorError(facts["error"], expected=True)
        return {"id": video_id, "title": "a title", **facts}


def video(site, facts):
    import json

    return site.add("/video/v1", text=json.dumps(facts).encode(), type="application/json")


def test_of_a_video_the_cheapest_good_audio_is_taken(site, files, fetch):
    forms = [
        {"format_id": "low", "abr": 32, "vcodec": "none", "url": site.add("/low.webm", file=files["webm"])},
        {"format_id": "dub", "abr": 50, "vcodec": "none", "url": site.add("/dub.webm", file=files["webm"])},
        {"format_id": "good", "abr": 64, "vcodec": "none", "url": site.add("/good.webm", file=files["webm"])},
        {"format_id": "best", "abr": 160, "vcodec": "none", "url": site.add("/best.webm", file=files["webm"])},
        {"format_id": "film", "tbr": 900, "vcodec": "avc1", "url": site.add("/film.mp4", file=files["m4a"])},
    ]
    for form, preference in zip(forms, (10, -10, 10, 10, 10), strict=True):
        form["language_preference"] = preference
        form["ext"] = "webm"
    url = video(site, {"formats": forms, "channel_id": "c1", "uploader": "someone", "license": "CC BY"})
    fetched = fetch(url, extractors=(LoopbackIE,))
    assert fetched.facts["format"] == "good"
    assert (fetched.facts["id"], fetched.facts["uploader"], fetched.facts["license"]) == ("v1", "someone", "CC BY")
    assert {one.path for one in site.seen} == {"/video/v1", "/good.webm"}


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ({"live_status": "is_live"}, "live"),
        ({"live_status": "is_upcoming"}, "live"),
        ({"has_drm": True}, "drm"),
        ({"duration": 7200.0}, "too_long"),
    ],
)
def test_what_may_not_be_fetched_is_not(facts, word, site, files, fetch):
    media = site.add("/a.webm", file=files["webm"])
    form = {"format_id": "a", "vcodec": "none", "ext": "webm", "url": media, "has_drm": facts.pop("has_drm", None)}
    url = video(site, {"formats": [form], **facts})
    with pytest.raises(StatusError) as caught:
        fetch(url, extractors=(LoopbackIE,), max_duration_seconds=3600.0)
    assert caught.value.reason == word
    assert not site.requests("/a.webm")


MESSAGES = {
    "Sign in to confirm you\u2019re not a bot. Use --cookies-from-browser": "bot_check",
    "Private video. Sign in if you've been granted access to this video": "private",
    "Sign in to confirm your age. This video may be inappropriate for some users.": "age_restricted",
    "Join this channel to get access to members-only content like this video": "members_only",
    "Video unavailable. The uploader has not made this video available in your country": "geo_blocked",
    "Video unavailable": "unavailable",
    "This video has been removed by the uploader": "unavailable",
    "Video unavailable. This content isn\u2019t available, try again later.": "rate_limited",
    "This live event will begin in 3 days.": "live",
    "This video is DRM protected": "drm",
    "Something new": "error",
}


@pytest.mark.parametrize("text", MESSAGES)
def test_a_sites_words_become_a_status(text, site, fetch):
    url = video(site, {"error": text})
    with pytest.raises(StatusError) as caught:
        fetch(url, extractors=(LoopbackIE,))
    assert caught.value.reason == MESSAGES[text] == classify_message(text)


def test_a_list_of_videos_is_not_one(site, fetch):
    entries = [{"_type": "url", "url": f"http://{site.host}/video/v{i}"} for i in range(3)]
    url = video(site, {"_type": "playlist", "entries": entries})
    with pytest.raises(StatusError) as caught:
        fetch(url, extractors=(LoopbackIE,))
    assert caught.value.reason == "invalid_url"
    assert len(site.seen) == 1


def test_segments_are_fetched_whole_under_the_cap(site, files, tmp_path, media, wave, fetch):
    """HLS without an ffmpeg binary: the native segments, then the section."""
    import av

    names = []
    with av.open(str(files["m4a"])) as source:
        given = source.streams.audio[0]
        packets = [packet for packet in source.demux(given) if packet.dts is not None]
        for i in range(4):
            path = tmp_path / f"{i}.ts"
            with av.open(str(path), "w", format="mpegts") as out:
                taken = out.add_stream_from_template(given)
                for packet in packets[i * len(packets) // 4 : (i + 1) * len(packets) // 4]:
                    packet.stream = taken
                    out.mux(packet)
            names.append(path.name)
            site.add(f"/{path.name}", file=path)
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:10"]
    lines += [line for name in names for line in ("#EXTINF:10.0,", name)] + ["#EXT-X-ENDLIST"]
    listing = tmp_path / "list.m3u8"
    listing.write_text("\n".join(lines) + "\n")
    url = site.add("/list.m3u8", file=listing)
    fetched = fetch(url)
    assert len(fetched.section.samples) == 64_000
    assert fetched.section.rms > 0.05
    assert {f"/{name}" for name in names} <= {one.path for one in site.seen}
    with pytest.raises(StatusError) as caught:
        fetch(url, max_bytes=200_000)
    assert caught.value.reason == "too_large"


def test_a_stream_without_an_end_is_live(site, fetch):
    text = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXT-X-MEDIA-SEQUENCE:7\n#EXTINF:10.0,\n7.ts\n"
    with pytest.raises(StatusError) as caught:
        fetch(site.add("/live.m3u8", text=text, type="application/vnd.apple.mpegurl"))
    assert caught.value.reason == "live"
    assert not site.requests("/7.ts")


def test_encrypted_segments_are_not_fetched(site, fetch):
    text = b'#EXTM3U\n#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://x"\n#EXTINF:10.0,\n0.ts\n#EXT-X-ENDLIST\n'
    with pytest.raises(StatusError) as caught:
        fetch(site.add("/locked.m3u8", text=text, type="application/vnd.apple.mpegurl"))
    assert caught.value.reason == "drm"


@pytest.mark.parametrize("protocol", ["rtmp", "mhtml", "websocket_frag"])
def test_no_helper_program_is_started(protocol, site, fetch):
    form = {"format_id": "a", "ext": "mp4", "vcodec": "none", "protocol": protocol, "url": f"rtmp://{site.host}/x"}
    with pytest.raises(StatusError) as caught:
        fetch(video(site, {"formats": [form]}), extractors=(LoopbackIE,))
    assert caught.value.reason == "error"
    assert protocol in str(caught.value)


def test_messages_are_short_and_harmless():
    text = clean_message("\x1b[0;31mERROR:\x1b[0m cannot\nread https://u:p@h/a?sig=1#t; please report this issue on x")
    assert text == "cannot read https://h/a"
    assert len(clean_message("x" * 5000)) == 300
