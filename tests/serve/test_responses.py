"""What both applications of the service answer alike."""

import asyncio
import json
from dataclasses import replace

import pytest

from embedx.manifest import Source
from embedx.testing import make_dataset

pytest.importorskip("fastapi", reason="needs the extra 'serve'")


def test_a_clip_that_cannot_be_played_is_one_line_that_names_no_folder(tmp_path):
    from embedx.serve.responses import play_clip

    (tmp_path / "0.wav").write_text("words")
    sources = (Source("0.wav"), Source("gone.wav"))
    dataset = replace(make_dataset(n=12).take([0, 1]), sources=sources, root=str(tmp_path))
    damaged, gone = (asyncio.run(play_clip(dataset, i)) for i in (0, 1))
    assert damaged.status_code == 422
    assert json.loads(damaged.body)["error"].startswith("0.wav cannot be decoded")
    assert str(tmp_path) not in damaged.body.decode()
    assert (gone.status_code, asyncio.run(play_clip(dataset, 9)).status_code) == (404, 404)
