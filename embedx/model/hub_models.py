"""Models and the Hugging Face hub: the one door of saved models to huggingface_hub."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from embedx.errors import EmbedxWarning, ModelFormatError
from embedx.model.card_seal import is_own_card
from embedx.text import describe_error, first_line

__all__ = ["HEAD_FILES", "NETWORK_FILES", "fetch_model", "push_folder", "render_front_matter", "resolve_folder"]

HEAD_FILES = ("model.json", "arrays.safetensors", "booster.txt", "head.skops", "README.md")
"""All that a saved head may consist of."""

NETWORK_FILES = ("*config.json", "finetune.json", "*.safetensors", "*.safetensors.index.json")
"""What a fine-tuned network has beside them. There is no pickle and no code, and nothing else is fetched."""

_TASK = "audio-classification"
_PREFIX = "hf:"


def resolve_folder(place: str | os.PathLike[str]) -> Path:
    """Return the folder of a model: what is named itself, or what ``hf:OWNER/NAME[@REVISION]`` stands for, fetched.

    Where a folder has such a name, the folder is meant.

    Examples
    --------
    >>> resolve_folder("model").name
    'model'
    """
    text = os.fspath(place)
    if not text.startswith(_PREFIX) or os.path.exists(text):
        return Path(place)
    repo, _, revision = text.removeprefix(_PREFIX).partition("@")
    return fetch_model(repo, revision=revision or None)


def fetch_model(repo: str, *, revision: str | None = None, token: str | None = None) -> Path:
    """Return the folder of a model of the hub, downloading what is not there yet.

    A commit that lies in the cache is used without asking the network.

    Parameters
    ----------
    repo : str
        ``OWNER/NAME``.
    revision : str, optional
        Branch, tag or commit; the newest of the main branch where absent.
    token : str, optional
        Who asks; the one that ``hf auth login`` kept where absent.

    Raises
    ------
    ModelFormatError
        No such model or revision, no right to read it, no network and nothing in the cache.
    """
    import huggingface_hub as hub

    from embedx.encoders.hub import downloading

    options: dict[str, Any] = {"revision": revision, "allow_patterns": [*HEAD_FILES, *NETWORK_FILES], "token": token}
    pinned = re.fullmatch(r"[0-9a-f]{40}", revision or "") is not None
    folder = _cached(repo, options) if pinned else None
    if folder is None:
        try:
            with downloading(repo) as bar:
                folder = Path(hub.snapshot_download(repo, tqdm_class=bar, **options))
        except Exception as error:
            folder = None if _is_refusal(error) else _cached(repo, options)
            if folder is None:
                raise ModelFormatError(_why_not_read(repo, revision, error)) from error
    if not (folder / "model.json").is_file():
        raise ModelFormatError(f"{repo!r} of the hub is no embedx model: it has no model.json")
    return folder


def _cached(repo: str, options: Mapping[str, Any]) -> Path | None:
    """Return a complete model from the cache, or None."""
    import huggingface_hub as hub

    try:
        folder = Path(hub.snapshot_download(repo, local_files_only=True, **options))
    except Exception:
        return None
    return folder if (folder / "model.json").is_file() else None


def push_folder(
    folder: Path,
    repo: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    token: str | None = None,
    message: str = "Upload an embedx model",
) -> str:
    """Upload a saved model in one commit, and return the commit.

    Files of a model that lay there before and are none of this one are removed; others stay, and so does a card that
    somebody changed on the hub (with a warning).

    Parameters
    ----------
    folder : Path
        What `Model.save` wrote.
    repo : str
        ``OWNER/NAME``; made where there is none.
    private : bool, optional
        Who may see a repository that is made; None follows the owner's settings.
    revision : str, optional
        Branch, made where there is none; the main branch where absent.
    token : str, optional
        Who asks; the one that ``hf auth login`` kept where absent.
    message : str
        Of the commit.

    Raises
    ------
    ModelFormatError
        No right to write there, no network, or somebody else committed meanwhile; nothing is changed there.
    """
    import huggingface_hub as hub

    api = hub.HfApi(token=token)
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo, branch=revision, exist_ok=True)
        before = api.model_info(repo, revision=revision)
        held = {one.rfilename for one in before.siblings or ()}
        names = {path.name for path in folder.iterdir()}
        if "README.md" in held & names and not _is_own_card(api, repo, before.sha):
            warnings.warn(f"the card of {repo} was changed on the hub and stays as it is", EmbedxWarning, stacklevel=4)
            names.discard("README.md")
            held.discard("README.md")
        added = [hub.CommitOperationAdd(name, folder / name) for name in sorted(names)]
        removed = [hub.CommitOperationDelete(name) for name in sorted(held - names) if _is_of_model(name)]
        options: dict[str, Any] = {"revision": revision, "parent_commit": before.sha}
        with _bars_on_terminals_only():
            return str(api.create_commit(repo, [*added, *removed], commit_message=message, **options).oid)
    except Exception as error:
        raise ModelFormatError(_why_not_written(repo, error)) from error


@contextmanager
def _bars_on_terminals_only() -> Iterator[None]:
    from huggingface_hub import utils

    is_seen = sys.stderr is not None and sys.stderr.isatty()
    if is_seen or utils.are_progress_bars_disabled():
        yield
        return
    utils.disable_progress_bars()
    try:
        yield
    finally:
        utils.enable_progress_bars()


def _is_of_model(name: str) -> bool:
    return "/" not in name and any(Path(name).match(pattern) for pattern in (*HEAD_FILES, *NETWORK_FILES))


def _is_own_card(api: Any, repo: str, sha: str | None) -> bool:
    return is_own_card(api.hf_hub_download(repo, "README.md", revision=sha))


def _is_refusal(error: Exception) -> bool:
    """Say whether the hub answered that this is not to be had."""
    return 400 <= _status(error) < 500


def _status(error: Exception) -> int:
    return int(getattr(getattr(error, "response", None), "status_code", 0) or 0)


def _why_not_read(repo: str, revision: str | None, error: Exception) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.HFValidationError):
        return _no_hub_id(repo)
    if isinstance(error, errors.GatedRepoError):
        return f"model {repo!r} is gated: accept its terms on the hub and log in (hf auth login)"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"model {repo!r} has no revision {revision!r} on the hub: leave it out for the newest"
    if isinstance(error, errors.RepositoryNotFoundError) or _status(error) in (401, 403):
        return f"the hub has no model {repo!r}, or it is private: check the name, or log in (hf auth login)"
    at = f" at revision {revision!r}" if revision else ""
    why = f"the hub cannot be reached ({type(error).__name__})"
    return f"model {repo!r}{at} is not in the cache and {why}: connect once to download it"


def _why_not_written(repo: str, error: Exception) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.HFValidationError):
        return _no_hub_id(repo)
    if _status(error) in (401, 403) or isinstance(error, errors.RepositoryNotFoundError):
        return f"no right to write to {repo!r} on the hub: log in with a token that may write there (hf auth login)"
    if _status(error) == 412:
        return f"{repo!r} was changed on the hub meanwhile, and is as it was: push again"
    if _status(error) or isinstance(error, ValueError):
        return f"the hub does not take {repo!r}: {first_line(error)[:200]}"
    return f"{repo!r} was not pushed: the hub cannot be reached, or answers otherwise ({describe_error(error)[:200]})"


def _no_hub_id(repo: str) -> str:
    return f"{repo!r} is no hub id: give OWNER/NAME, of letters, digits, '-', '_' and '.'"


def render_front_matter(
    *,
    library_name: str,
    license: str | None,
    base_model: str | None,
    model_name: str,
    scores: Mapping[str, float],
) -> str:
    """Return the YAML that the hub reads at the top of a card, without the lines that enclose it.

    Parameters
    ----------
    library_name : str
        What loads the folder.
    license : str, optional
        The hub's short name of a licence.
    base_model : str, optional
        Hub id of the encoder.
    model_name : str
        In the table of results.
    scores : mapping of str to float
        Measured on clips that were held out, by the hub's name of the metric.

    Examples
    --------
    >>> facts = {"license": "mit", "base_model": None, "model_name": "m", "scores": {}}
    >>> print(render_front_matter(library_name="embedx", **facts).rstrip())
    library_name: embedx
    license: mit
    pipeline_tag: audio-classification
    tags:
    - embedx
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of bars in notebooks, which nothing here draws
        from huggingface_hub import EvalResult, ModelCardData

    where: dict[str, Any] = {"task_type": _TASK, "dataset_type": "held-out", "dataset_name": "clips that were held out"}
    results = [EvalResult(**where, metric_type=name, metric_value=round(value, 6)) for name, value in scores.items()]
    data = ModelCardData(
        license=license,
        library_name=library_name,
        pipeline_tag=_TASK,
        base_model=base_model,
        tags=["embedx"],
        model_name=model_name if results else None,
        eval_results=results or None,
    )
    return data.to_yaml() + "\n"
