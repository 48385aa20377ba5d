from __future__ import annotations

import dataclasses
import os
import re
import secrets
import signal
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Run
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from geomind.cascade import REGION_MEDIAN
from geomind.errors import CheckpointError, ConfigError, ManifestError, MissingExtraError, OutputError, PhotoError
from geomind.files import atomic_path
from geomind.geolocators import Answering, load_geolocator
from geomind.inference import cluster, engine
from geomind.inference.cluster import infer_on_ray
from geomind.inference.photo_list import FolderOfPhotos, ListOfPhotos
from geomind.predictions import Prediction, read_predictions, write_predictions
from geomind.progress import Advance

# Ray sets its own deprecated settings when it copies its defaults.
pytestmark = pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*")

BATCH, PART = 3, 6

TOKEN = secrets.token_hex(32)  # a process that has been connected keeps the first one

COUNT = 31
"""Photos of the folder: five parts and one photo."""


@pytest.fixture
def two_actors() -> Iterator[None]:
    """A cluster of this machine with room for two actors of one core.

    One a test: Ray may keep the actors of a run whose parts failed, which those of the next would wait for.
    """
    ray = pytest.importorskip("ray", reason="needs the extra ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN", TOKEN)  # otherwise it leaves one in the home folder
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=80 * 2**20)
        yield
        ray.shutdown()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Photos, loose and in a tar, and one that cannot be read."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(COUNT - 1):
        pixels = np.random.default_rng(number).integers(0, 255, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((40, 36)).save(folder / f"{number:02d}.png")
    (folder / "05b.jpg").write_bytes(b"broken")
    with tarfile.open(folder / "22.tar", "w") as tar:
        for number in range(22, 26):
            tar.add(folder / f"{number}.png", f"{number}.png")
            (folder / f"{number}.png").unlink()
    return folder


@pytest.fixture
def infer(two_actors: None, folder: Path, models: Path, tmp_path: Path) -> Callable[..., engine.Inference]:
    def infer(**more: Any) -> engine.Inference:
        how = Answering(runtime="torch", device="cpu", threads=1)
        photos = more.pop("photos", FolderOfPhotos(folder))
        return infer_on_ray(photos, tmp_path / "p.parquet", models, how, batch_size=BATCH, part_size=PART - 1, **more)

    return infer


@pytest.fixture
def local(folder: Path, models: Path, tmp_path: Path) -> Path:
    """The rows of one machine."""
    cascade = load_geolocator(models, Answering(runtime="torch", threads=1))
    engine.infer(folder, tmp_path / "local.parquet", cascade, batch_size=BATCH)
    return tmp_path / "local.parquet"


class Acting:
    """Shows no bar, and does something when the first part is done."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act: Callable[[], object] | None = act

    @contextmanager
    def track(self, what: str, total: int | None) -> Iterator[Advance]:
        def advance(steps: float = 1, note: str = "") -> None:
            act, self._act = self._act, None
            if act is not None:
                act()

        yield advance


def parts(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


ALL_PARTS = [f"part-{number:06d}.parquet" for number in range(6)]


def test_the_rows_of_one_machine_though_an_actor_is_killed(
    infer: Callable[..., engine.Inference], local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two actors is killed while it writes a part, whose half is in its file."""
    marker = tmp_path / "pid"

    class Hanging(cluster._Answerer):
        def _begin(self, part: Path, names: list[str]) -> None:
            super()._begin(part, names)
            if names[-1] == "10.png" and not marker.exists():
                with atomic_path(part) as temporary:
                    temporary.write_bytes(b"half a part")
                    marker.write_text(f"{os.getpid()}\n")
                    time.sleep(60)

    def kill() -> None:
        until = time.monotonic() + 30
        while not (marker.exists() and marker.read_text().endswith("\n")):
            assert time.monotonic() < until
            time.sleep(0.05)
        os.kill(int(marker.read_text()), signal.SIGKILL)
        killed.append(list((tmp_path / "p.parquet.unfinished" / "parts").glob(".part-000001*.partial.parquet")))

    killed: list[list[Path]] = []
    monkeypatch.setattr(cluster, "_Answerer", Hanging)
    done = infer(progress=Acting(kill))
    assert len(killed) == len(killed[0]) == 1
    assert parts(tmp_path / "p.parquet") == ALL_PARTS
    assert not (tmp_path / "p.parquet.unfinished").exists()
    rows = read_predictions(tmp_path / "p.parquet")
    assert rows == read_predictions(local)
    assert [bool(row.answered) for row in rows].count(False) == 1
    assert (done.photos, done.located, done.failed) == (COUNT, COUNT - 1, 1)
    assert done.fallbacks == sum(row.error is not None for row in rows) - 1


def test_a_stopped_run_goes_on_and_answers_no_part_twice(
    infer: Callable[..., engine.Inference],
    local: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    heard: pytest.LogCaptureFixture,
) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        infer(progress=Acting(stop))
    assert "answered and kept" in heard.text
    assert not (tmp_path / "p.parquet").exists()
    kept = tmp_path / "p.parquet.unfinished" / "parts"
    time.sleep(1)  # the actors end
    first, *others = (path for path in sorted(kept.iterdir()) if path.name.startswith("part-"))
    before = first.stat().st_mtime_ns
    for path in others:
        path.write_bytes(b"damaged")
    with pytest.raises(OutputError, match="--resume"):
        infer()
    with pytest.raises(OutputError, match="another set of weights"):
        infer(resume=True, made_with={"set of weights": "others"})
    infer(resume=True)
    assert (tmp_path / "p.parquet" / first.name).stat().st_mtime_ns == before
    assert parts(tmp_path / "p.parquet") == ALL_PARTS
    assert read_predictions(tmp_path / "p.parquet") == read_predictions(local)


def test_a_part_that_fails_for_good_is_said_and_keeps_no_other_from_its_rows(
    infer: Callable[..., engine.Inference], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = tmp_path / "tries"
    monkeypatch.setattr(cluster, "_Answerer", failing_at_part_2(tries))
    monkeypatch.setattr(cluster, "RETRIES", 1)  # Ray waits longer before each
    with pytest.raises(OutputError, match=r"6 photos have no row: their parts failed 2 times"):
        infer()
    assert tries.read_text() == "xx"
    assert parts(tmp_path / "p.parquet.unfinished" / "parts") == [*ALL_PARTS[:2], *ALL_PARTS[3:]]


def test_more_failed_parts_than_may_be_end_the_run(
    infer: Callable[..., engine.Inference], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_Answerer", failing_at_part_2(tmp_path / "tries"))
    monkeypatch.setattr(cluster, "RETRIES", 0)
    monkeypatch.setattr(cluster, "FAILED_PARTS", 0)
    with pytest.raises(OutputError, match=r"cannot go on: no room for it\. Go on with --resume"):
        infer()
    assert (tmp_path / "tries").read_text() == "x"


def failing_at_part_2(tries: Path) -> type:
    """Give an actor that fails at one part, and leaves a mark each time."""

    class Failing(cluster._Answerer):
        def __call__(self, batch: Any) -> Any:
            if batch["part"][0] == 2:
                with tries.open("a") as file:
                    file.write("x")
                raise OutputError("no room for it.")
            return super().__call__(batch)

    return Failing


def test_an_actor_that_cannot_begin_says_why(
    infer: Callable[..., engine.Inference], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elsewhere(cluster._Answerer):
        def __init__(self, orders: Any) -> None:
            super().__init__(dataclasses.replace(orders, photo_list=Path("/no/such/disk/photos.txt")))

    monkeypatch.setattr(cluster, "_Answerer", Elsewhere)
    with pytest.raises(OutputError, match=r"cannot go on: .* does not see /no/such/disk/photos.txt\. Put photos"):
        infer()


def test_the_command(geomind: Run, infer: Callable[..., engine.Inference], models: Path, local: Path) -> None:
    Path("list.csv").write_text("image_path\nphotos/03.png\nphotos/22.tar/24.png\nphotos/gone.png\n")
    words = ("infer", "--engine", "ray", "--list", "list.csv", "--models", models, "--runtime", "torch", "--threads", 1)
    code, said, _ = geomind(*words, "--device", "cpu", "--output", "rows.parquet")
    assert code == 0
    assert "3 photos: 2 located, 1 could not be read." in said
    rows = read_predictions("rows.parquet")
    assert [row.image_path for row in rows] == ["photos/03.png", "photos/22.tar/24.png", "photos/gone.png"]
    theirs = {f"photos/{row.image_path}": row for row in read_predictions(local)}
    assert [row.place for row in rows[:2]] == [theirs[row.image_path].place for row in rows[:2]]
    for more, complaint in (
        (("--output", "rows.csv"), r"ending in \.parquet"),
        (("--output", "rows.parquet"), "--overwrite"),
        (("--output", "b.parquet", "--map", "map.html"), "geomind convert"),
        (("--output", "b.parquet", "--format", "csv"), "geomind convert"),
        (("--output", "b.parquet", "--threads", 64), "No machine of the Ray cluster has 64 CPUs"),
    ):
        code, _, said = geomind(*words, *more)
        assert code == 1
        assert re.search(complaint, said), said
    code, _, said = geomind("infer", "--list", "list.csv", "--address", "here:1")
    assert (code, "--engine ray" in said) == (1, True)
    assert not Path("b.parquet").exists()
    assert not Path("b.parquet.unfinished").exists()


def test_an_output_is_replaced_only_when_it_is_one(
    infer: Callable[..., engine.Inference], folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "p.parquet"
    output.mkdir()
    (output / "part-000009.parquet").write_bytes(b"old")
    (output / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds notes\.txt"):
        infer(overwrite=True)
    (output / "notes.txt").unlink()
    (tmp_path / "one.txt").write_text("photos/01.png\n")
    infer(photos=ListOfPhotos(tmp_path / "one.txt"), overwrite=True)
    assert parts(output) == ALL_PARTS[:1]
    with pytest.raises(PhotoError, match="No photo"):
        (tmp_path / "empty").mkdir()
        infer(photos=FolderOfPhotos(tmp_path / "empty"), overwrite=True)
    assert parts(output) == ALL_PARTS[:1]
    assert not (tmp_path / "p.parquet.unfinished").exists()


# ── without a cluster ────────────────────────────────────────────────────────────────────────────────────────────────


def test_without_ray_the_extra_is_named(folder: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'geomind\[ray\]'"):
        infer_on_ray(FolderOfPhotos(folder), folder.parent / "p.parquet", models)


def test_models_are_looked_at_before_a_cluster_is(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        infer_on_ray(FolderOfPhotos(folder), tmp_path / "p.parquet", tmp_path / "no models")


def test_a_part_is_counted_unless_it_is_damaged(tmp_path: Path) -> None:
    rows = [
        Prediction(image_path="a", latitude=1, longitude=2),
        Prediction(image_path="b", latitude=1, longitude=2, error=REGION_MEDIAN),
        Prediction(image_path="c", error="no such file"),
        Prediction(image_path="d", error=REGION_MEDIAN),
    ]
    part = tmp_path / "part-000000.parquet"
    write_predictions(rows, part)
    assert cluster._count(part) == cluster._Counts(photos=4, located=2, fallbacks=1)
    part.write_bytes(part.read_bytes()[:-9])
    assert cluster._count(part) is None
    assert cluster._count(tmp_path / "none.parquet") is None


def test_a_folder_without_parts_is_no_predictions(tmp_path: Path) -> None:
    (tmp_path / "p.parquet").mkdir()
    with pytest.raises(ManifestError, match="without parts"):
        read_predictions(tmp_path / "p.parquet")


@pytest.mark.parametrize(
    ("machines", "device", "threads", "crew"),
    [
        ([(8, 0)] * 10, "auto", None, ("cpu", 10, 8)),
        ([(64, 0), (16, 0), (0, 0)], "auto", None, ("cpu", 10, 8)),
        ([(2, 0), (7, 0)], "cpu", None, ("cpu", 4, 2)),
        ([(16, 0), (16, 0)], "cpu", 4, ("cpu", 8, 4)),
        ([(32, 4), (64, 0), (16, 2)], "auto", None, ("cuda", 6, 8)),
        ([(32, 4), (16, 0)], "cpu", None, ("cpu", 6, 8)),
        ([(2, 4)], "cuda", None, ("cuda", 2, 1)),
        ([(8, 0)], "cuda", None, "has no GPU"),
        ([(8, 0)], "cpu", 9, "has 9 CPUs"),
        ([(0, 0)], "cpu", None, "has 8 CPUs"),
    ],
)
def test_actors_fill_each_machine(
    machines: list[tuple[int, int]], device: Any, threads: int | None, crew: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray", reason="needs the extra ray")
    nodes = [{"Alive": True, "Resources": {"CPU": float(cpu), "GPU": float(gpu)}} for cpu, gpu in machines]
    gone = {"Alive": False, "Resources": {"CPU": 99.0}}
    monkeypatch.setattr(ray, "nodes", lambda: [*nodes, gone])
    if isinstance(crew, str):
        with pytest.raises(ConfigError, match=crew):
            cluster._crew(device, threads)
    else:
        assert cluster._crew(device, threads) == cluster._Crew(*crew)


@given(
    st.lists(st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=9), max_size=40),
    st.integers(1, 12),
    st.integers(1, 50),
)
def test_a_list_is_cut_into_parts_of_whole_names(names: list[str], size: int, block: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        photo_list = Path(folder) / "photos.txt"
        photo_list.write_bytes(b"".join(name.encode("utf-8", "surrogatepass") + b"\0" for name in names))
        cuts = cluster._cut(photo_list, size, block)
        read = [cluster._read_names(photo_list, start, end) for start, end in cuts]
    assert [name for part in read for name in part] == names
    assert all(len(part) == size for part in read[:-1])
    assert all(read)
