"""Many machines without an engine: shards of one store, the Slurm script as Slurm runs it, merge."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "slurm_array.sh"


@pytest.fixture(scope="session")
def reference(reference, contents):
    """Everything in the store that one local run writes."""
    return contents(reference)


@pytest.fixture
def slurm(clips, tmp_path):
    """``slurm(i, ids, words)``: start task ``i`` of an array of these ids, with what Slurm sets in its environment."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "embedx").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m embedx "$@"\n')
    (tools / "embedx").chmod(0o755)
    usual = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "SLURM_CPUS_PER_TASK": "3"}
    usual["EMBEDX_OPTIONS"] = "--encoder tiny"

    def start(words, *, i=None, ids=()):
        task = {"TASK_ID": i, "TASK_MIN": min(ids), "TASK_COUNT": len(ids)} if ids else {}
        facts = {**usual, **{f"SLURM_ARRAY_{name}": str(value) for name, value in task.items()}}
        words = [str(clips) if word == "clips.csv" else word for word in words]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        started.append(subprocess.Popen(words, env=facts, cwd=tmp_path, start_new_session=True, **streams))
        return started[-1]

    started = []
    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def finish(process):
    output, _ = process.communicate(timeout=400)
    return process.returncode, output


def said(pattern):
    """The words of a command that the example's comments give."""
    return shlex.split(re.search(pattern, EXAMPLE.read_text())[1])


def test_the_slurm_script_and_its_last_line(slurm, reference, contents, tmp_path):
    """Three tasks; the second is submitted again by itself, as after a kill: Slurm then speaks of an array of one."""
    script, *words = said(r"sbatch --array=0-15 (examples/.*)")
    assert script == "examples/slurm_array.sh"
    assert words == ["clips.csv", "emb.h5", "16"]
    command = ["bash", str(EXAMPLE), "clips.csv", "emb.h5", "3"]
    tasks = [slurm(command, i=i, ids=(0, 1, 2)) for i in (0, 2)]
    assert [finish(task)[0] for task in tasks] == [0, 0], "failed clips are no failed task"
    status, output = finish(slurm(command, i=1, ids=(1,)))
    assert status == 0, output
    assert re.search(r"^6[0-4] clips", output, re.MULTILINE), output
    assert not (tmp_path / "emb.h5").exists()
    assert "emb.h5 is not published yet: when all shards are done, run this command without --shard" in output
    status, output = finish(slurm(said(r'--wrap "(.*)"')))
    assert status == 0 or "failed in an earlier run" in output, output
    assert "nothing to compute" in output
    assert contents(tmp_path / "emb.h5") == reference


def test_a_bad_submission_fails_before_anything_is_computed(slurm):
    status, output = finish(slurm(["bash", str(EXAMPLE), "clips.csv", "emb.h5"], i=0, ids=(0,)))
    assert status == 1
    assert "usage: sbatch" in output
    status, output = finish(slurm(["bash", str(EXAMPLE), "clips.csv", "emb.h5", "3"], i=3, ids=(0, 1, 2, 3)))
    assert status == 2
    assert "from 0 to N - 1" in output


def test_shards_of_two_stores_merge_into_what_one_run_writes(clips, reference, contents, run_embedx, tmp_path):
    for i, store in enumerate(("a.h5", "b.h5")):
        done = run_embedx("extract", clips, "-o", tmp_path / store, "--encoder", "tiny", "--shard", f"{i}/2")
        assert done.returncode in (0, 3), done.stderr
    done = run_embedx("merge", tmp_path / "a.h5", tmp_path / "b.h5", "-o", tmp_path / "all.h5")
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "all.h5") == reference


@pytest.mark.parametrize("words", [("--shard", "0/2"), ("--engine", "ray", "--parts", "worker")])
def test_what_several_write_nobody_overwrites(clips, run_embedx, tmp_path, words):
    done = run_embedx("extract", clips, "-o", tmp_path / "emb.h5", "--encoder", "tiny", "--overwrite", *words)
    assert done.returncode == 2
    assert "cannot begin it anew" in done.stderr
