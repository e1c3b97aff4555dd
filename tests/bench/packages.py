"""Package sizes: what Lambda unpacks for each function."""

import tempfile
from pathlib import Path

from tests.bench.application import build_layers, layers_in
from tests.bench.figure import Figure, Group
from tests.documents import ROOT
from tests.handlers import NAMES

_ABOUT = (
    "The unpacked code of the largest function and the layers, as `sam build` makes them for deployment: for Python "
    "3.13, with compiled files for both processors, because AWS CodeBuild runs the builder from the same layer. Lambda "
    "takes 250 MB. With bytecode, if Python 3.13 is on the path."
)


def figures() -> Group:
    """Measure the sizes of the built packages."""
    with tempfile.TemporaryDirectory() as folder:
        build_layers(Path(folder), for_this_machine=False)
        layers = [_megabytes(layer) for layer in layers_in(Path(folder))]
        (layer, *_) = layers_in(Path(folder))
        parts = {part: _megabytes(part) for part in layer.iterdir() if part.is_dir()}
    largest = max((ROOT / "functions" / name / "app.py").stat().st_size / 1e6 for name in NAMES)
    by_size = sorted(parts, key=lambda part: -parts[part])[:6]
    return Group(
        "Package sizes",
        _ABOUT,
        (
            Figure("package_max_mb", round(sum(layers) + largest, 2), "MB"),
            *(Figure(f"package_{part.name}_mb", round(parts[part], 2), "MB") for part in by_size),
        ),
    )


def _megabytes(path: Path) -> float:
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file()) / 1e6
