"""The start by path, wherever this folder was copied to.

What lies in or beside the folder must not stand in for a library: `data.py` does here, and
`datasets.py` in a checkout. So neither is searched, and the package is made known by name.
"""

import importlib.util
import sys
from pathlib import Path


def make_known(folder: Path) -> None:
    spec = importlib.util.spec_from_file_location(
        folder.name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    package = sys.modules[folder.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != folder]


if __name__ == "__main__":
    make_known(Path(__file__).resolve().parent)
    wanted = "merge" if sys.argv[1:2] == ["merge"] else "command"
    importlib.import_module(f"train_dpo.{wanted}").main()
