"""What people rely on without reading the code: names, order of imports, shipped YAML, quick help."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import geomind
from geomind.config import (
    AUGMENT_POLICIES,
    CellsConfig,
    DirectorConfig,
    ExpertConfig,
    HierarchicalConfig,
    TrainingConfig,
    load_config,
)

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "geomind"

LAYERS = [
    {"errors", "progress"},
    {"files", "devices", "spreadsheets", "logs", "tars"},
    {"geography", "config"},
    {"photos", "metrics", "thumbnails", "uncertainty"},
    {"checkpoints", "predictions", "outputs"},
    {"backbones"},
    {"networks", "runtimes"},
    {"decoding", "heads", "calibration"},
    {"director", "expert"},
    {"retrieval"},
    {"cascade", "hierarchical", "baselines"},
    {"geolocators"},
    {"export"},
    {"data"},
    {"training", "inference"},
    {"evaluation", "bench"},
    {"demo", "compare"},
    {"cli"},
    {"__main__"},
]
"""Who may import whom: a module imports from its own layer and from those before it."""


def test_public_names_are_there_and_none_is_forgotten() -> None:
    for name in geomind.__all__:
        assert getattr(geomind, name) is not None
    assert sorted(geomind.__all__) == sorted({*geomind._HOME, "__version__"})
    assert dir(geomind) == geomind.__all__
    with pytest.raises(AttributeError, match="no attribute 'Oracle'"):
        _ = geomind.Oracle


def test_imports_run_one_way() -> None:
    layer_of = {name: number for number, names in enumerate(LAYERS) for name in names}
    for path in PACKAGE.rglob("*.py"):
        here = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if here == "__init__":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("geomind."):
                there = node.module.split(".")[1]  # type: ignore[union-attr]
                assert layer_of[there] <= layer_of[here], f"{path.relative_to(ROOT)} imports {node.module}"


def _imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module.split(".")[0]}
    return names


def test_each_thing_has_one_door() -> None:
    """Only photos/reading.py opens images, only checkpoints.py touches weights files, nobody unpickles."""
    for path in PACKAGE.rglob("*.py"):
        name, text = path.relative_to(PACKAGE).as_posix(), path.read_text(encoding="utf-8")
        if name != "photos/reading.py":
            assert "Image.open(" not in text, name
        if name != "checkpoints.py":
            assert "safetensors" not in _imports(path), name
            assert "torch.load(" not in text, name
            assert "torch.save(" not in text, name
        assert "pickle" not in _imports(path), name
        assert "click" not in _imports(path), name
        if not name.startswith(("cli/", "geography/tables/")):
            assert "print(" not in text.replace("fingerprint(", ""), name


SHIPPED = sorted((ROOT / "configs").glob("*.yaml"))


def _kind(path: Path) -> type[TrainingConfig]:
    kinds: dict[str, type[TrainingConfig]] = {
        "director": DirectorConfig,
        "expert": ExpertConfig,
        "hierarchical": HierarchicalConfig,
    }
    return kinds[path.stem.split("_")[0]]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_settings_load_with_every_key(path: Path) -> None:
    values = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    assert _keys(values) == _keys(load_config(_kind(path), path).model_dump())


def _keys(values: dict[str, Any]) -> dict[str, Any]:
    return {key: _keys(value) if isinstance(value, dict) else None for key, value in values.items()}


@pytest.mark.parametrize("name", ["director", "expert", "hierarchical"])
def test_shipped_settings_are_the_defaults(name: str) -> None:
    path = ROOT / "configs" / f"{name}.yaml"
    assert load_config(_kind(path), path) == _kind(path)()


@pytest.mark.parametrize("name", ["director_v3", "expert_v1"])
def test_original_recipes_are_what_they_were(name: str) -> None:
    path = ROOT / "configs" / f"{name}.yaml"
    config = load_config(_kind(path), path)
    assert config.augment == AUGMENT_POLICIES["original"]
    assert (config.image_size, config.learning_rate, config.weight_decay) == (224, 5e-4, 1e-4)
    assert (config.schedule, config.plateau_factor, config.plateau_patience) == ("plateau", 0.5, 3)
    assert (config.early_stopping_patience, config.select, config.backbone.weights) == (6, "loss", "imagenet")
    if isinstance(config, DirectorConfig):
        assert config.balanced_sampler
        assert config.class_weights == "inverse"
    if isinstance(config, ExpertConfig):
        assert (config.head, config.loss, config.box_quantile, config.box_padding) == ("box", "mse", 0, 0)


def test_every_setting_says_what_it_is() -> None:
    for kind in (DirectorConfig, ExpertConfig, HierarchicalConfig, CellsConfig):
        assert all(info.description for info in kind.model_fields.values())


def test_help_loads_no_torch() -> None:
    code = (
        "import sys, geomind.cli\n"
        "try: geomind.cli.app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'pandas', 'numpy', 'scipy', 'PIL', 'matplotlib', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert said.returncode == 0, said.stderr
    assert "train-director" in said.stdout


def test_importing_the_cascade_loads_no_torch() -> None:
    code = "import sys, geomind; geomind.Cascade; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)


@pytest.mark.parametrize(
    "module", sorted(p.relative_to(ROOT).with_suffix("").as_posix() for p in PACKAGE.rglob("*.py"))
)
def test_every_module_says_what_it_is(module: str) -> None:
    if module.endswith("__main__"):
        return
    assert importlib.import_module(module.replace("/", ".").removesuffix(".__init__")).__doc__
