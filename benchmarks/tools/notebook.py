"""Run the notebooks of the documentation again and keep what they print and draw.

python -m benchmarks.tools.notebook docs/tutorials/first-classifier.ipynb
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any


def main() -> None:
    """Run each notebook in a folder of its own, and write it back."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", type=Path, nargs="+")
    for path in parser.parse_args().notebooks:
        with tempfile.TemporaryDirectory() as folder:
            path.write_text(_as_text(run_notebook(path, Path(folder))), encoding="utf-8")
        print(f"wrote {path}, {path.stat().st_size / 1e3:.0f} kB")


def run_notebook(path: Path, folder: Path) -> Any:
    """Return a notebook with what its cells gave when they ran in a folder; a cell that fails raises.

    Parameters
    ----------
    path : Path
        The notebook.
    folder : Path
        Where it runs.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(folder)}})
    return client.execute()


def _as_text(notebook: Any) -> str:
    import nbformat

    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times: they would change at every run
    return nbformat.writes(notebook) + "\n"


if __name__ == "__main__":
    main()
