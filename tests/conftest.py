from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch

from geomind import cli
from geomind.checkpoints import Description, director_path, expert_path, save_checkpoint
from geomind.geography.regions import Region, RegionTable, default_regions
from geomind.networks import DirectorNetwork, ExpertNetwork
from geomind.photos import Preprocessing

pytest_plugins = ("chromium", "few_photos", "few_rungs", "local_server")  # fixtures that more than one module asks for

# A shared machine is slow at times. The same examples each time: a change is judged by what it changed. `make fuzz`
# draws new ones, and what it finds becomes an @example.
hypothesis.settings.register_profile("geomind", deadline=None, derandomize=True)
hypothesis.settings.register_profile("fuzz", deadline=None, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "geomind"))
torch.set_num_threads(1)  # the tests run on all cores already

SIZE = 32
"""Side of the squares that test networks see."""


@pytest.fixture(autouse=True)
def flush_denormals(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep random networks quick: in eval mode they emit denormals, which make a CPU ten times slower.

    Property tests are left out: hypothesis wants the denormals that it draws.
    """
    flush = not getattr(request.function, "is_hypothesis_test", False)
    torch.set_flush_denormal(flush)
    yield
    torch.set_flush_denormal(False)


Run = Callable[..., tuple[int, str, str]]
"""A command's words -> exit code, stdout, stderr."""


@pytest.fixture
def geomind(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command in an empty folder, on a screen of 200 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["geomind", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
            raise SystemExit(0)
        said = capsys.readouterr()
        return int(stop.value.code or 0), said.out, said.err

    return run


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.LogCaptureFixture]:
    """What GeoMind logs, also after a test of the command line has sent it to stderr, from WARNING on."""
    logger = logging.getLogger("geomind")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", True)
    before = logger.level
    logger.setLevel(logging.NOTSET)
    yield caplog
    logger.setLevel(before)


@pytest.fixture
def shared() -> Path:
    """The folder of real photos and facts that is kept beside the project."""
    if "GEOMIND_SHARED" not in os.environ:
        pytest.skip("GEOMIND_SHARED is not set")
    return Path(os.environ["GEOMIND_SHARED"])


@pytest.fixture
def two_regions() -> RegionTable:
    return RegionTable("two", (Region(0, "west", "West", ("US", "CA")), Region(1, "east", "East", ("*",))))


def describe(kind: str, regions: RegionTable, **more: object) -> Description:
    """Describe a tiny network as its training would."""
    if kind == "director":
        more = {"region_medians": {region.id: (0.0, 0.0) for region in regions.regions}, **more}
    return Description(
        kind=kind,  # type: ignore[arg-type]
        region_table=regions.to_dict(),
        preprocessing=Preprocessing(image_size=SIZE),
        backbone="scene_net",
        config={},
        **more,  # type: ignore[arg-type]
    )


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A models folder with a Director of the 13 regions and the Experts of regions 2 and 5, all of random weights."""
    torch.manual_seed(0)
    folder, regions = tmp_path / "saved_models", default_regions()
    medians = {region.id: (float(region.id), 10.0) for region in regions.regions}
    director = DirectorNetwork("scene_net", SIZE, len(regions))
    save_checkpoint(director_path(folder), director.state_dict(), describe("director", regions, region_medians=medians))
    for region_id in (2, 5):
        expert = ExpertNetwork("scene_net", SIZE)
        description = describe("expert", regions, region_id=region_id, box=(40.0, 60.0, 0.0, 30.0))
        save_checkpoint(expert_path(folder, regions[region_id]), expert.state_dict(), description)
    return folder


@pytest.fixture
def short_transformer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give vit_b_16 two layers of its twelve: the same operators in a fifth of the time."""
    from torchvision.models import vision_transformer

    whole = vision_transformer._vision_transformer
    monkeypatch.setattr(vision_transformer, "_vision_transformer", lambda **sizes: whole(**{**sizes, "num_layers": 2}))


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(6, 3, SIZE, SIZE)).astype(np.float32)
