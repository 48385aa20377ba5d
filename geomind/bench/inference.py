"""How fast `geomind infer` is, against a plain loop and against what this machine can do at all. It prints nothing.

Photos and weights are made for it in a temporary folder. The engine and the plain loop run as processes of their own,
as people start them.
"""

from __future__ import annotations

import functools
import importlib.metadata
import itertools
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geomind.backbones import build_backbone
from geomind.bench.drawn_photos import draw_photos, size_of
from geomind.bench.processes import Ran, run_python
from geomind.bench.random_models import BOX, make_models
from geomind.bench.timing import Leg, Spread, flat, interleave, legs, machine
from geomind.cascade import Cascade
from geomind.checkpoints import director_path, expert_path
from geomind.devices import cores, keep_freed_memory
from geomind.director import Director, load_director_network
from geomind.errors import ConfigError, MissingExtraError
from geomind.expert import load_expert_network
from geomind.files import make_folder
from geomind.geography.boxes import Box
from geomind.geography.regions import default_regions
from geomind.inference.engine import WINDOW
from geomind.photos import Preprocessing
from geomind.progress import SILENT, Progress
from geomind.runtimes import PACKAGES, Precision, Runtime, can_make_onnx_files, pick_runtime
from geomind.runtimes.onnx_files import find_or_make

DRAWN = 13
"""Photos that are drawn, one a region; all others are links to them."""

_PLAIN_PHOTOS = 20
"""Photos of a stretch of the plain loop."""

_DECODED_A_CORE = 64
"""Photos that each core decodes in a stretch: all cores are done at nearly the same time."""

_FORWARD_SECONDS = 1.0
"""A stretch of forward passes takes this long, or a little longer."""

_COMPARED_WINDOWS = 16
"""Windows of photos whose answers are compared with those of torch."""


Pixels = NDArray[np.float32]
"""Photos after preprocessing: (N, 3, S, S) float32."""


class Runner(NamedTuple):
    """Who runs a network, and what it counts in."""

    runtime: Literal["torch", "onnx", "openvino"]
    precision: Precision


REFERENCE = Runner("torch", "fp32")
"""What every runner is compared with."""


class Way(NamedTuple):
    """One way of running the engine."""

    models: Literal["own", "shared"]
    """Whether each Expert has an encoder of its own, or all share the Director's."""
    precision: Precision

    @property
    def passes(self) -> int:
        """Forward passes a photo."""
        return 2 if self.models == "own" else 1


WAYS = {
    "": Way("own", "fp32"),
    "bf16_": Way("own", "bf16"),
    "shared_fp32_": Way("shared", "fp32"),
    "shared_": Way("shared", "bf16"),
}
"""Each with what the names of its figures begin with."""


@dataclass(frozen=True)
class EngineFigures:
    """One way of running the engine, each ratio within neighbouring stretches of time."""

    engine_images_per_s: Spread
    """Of a run over all photos less one over a few, which both have the start-up."""
    limit_images_per_s: Spread
    """Decoding alone, then the forward passes alone, no core ever waiting."""
    ratio_to_plain: Spread
    ratio_to_limit: Spread
    startup_seconds: Spread
    """From nothing to all networks ready, and the end of the program."""
    peak_memory_mb: Spread | None
    """The most memory that the process ever had, MB; None where the system does not tell."""


@dataclass(frozen=True)
class BareFigures:
    """The plain loop, and decoding alone."""

    plain_images_per_s: Spread
    plain_peak_memory_mb: Spread | None
    decode_images_per_s: Spread
    """On all cores, each JPEG shrunk while it is decoded."""


@dataclass(frozen=True)
class ForwardFigures:
    """The Director's network alone, on all cores, from pixels in memory."""

    forward_images_per_s: Spread
    forward_ratio: Spread
    """As a multiple of ``REFERENCE``."""


@dataclass(frozen=True)
class Agreement:
    """How near the answers of a cascade are to those that ``REFERENCE`` gives."""

    same_region: float
    """Share of the photos."""
    largest_difference: float
    """Between two answers in the same region, as a share of the side of its box."""


@dataclass(frozen=True)
class SharedTrunkFigures:
    """The cascade from pixels in memory, in fp32: decoding left out, the naming of places included."""

    cascade_images_per_s: Spread
    """Two passes a photo."""
    shared_cascade_images_per_s: Spread
    """One pass a photo."""
    shared_forward_ratio: Spread


@dataclass(frozen=True)
class OnePhotoFigures:
    """`geomind infer` on one photo, all files warm."""

    one_photo_seconds: Spread
    import_seconds: Spread
    """A Python that imports the runtime and ends."""
    one_photo_ratio: Spread


@dataclass(frozen=True)
class InferenceFigures:
    """All that was measured."""

    engines: Mapping[str, EngineFigures]
    """By the names of ``WAYS``."""
    bare: BareFigures
    forwards: Mapping[Runner, ForwardFigures]
    agreements: Mapping[Runner, Agreement]
    shared_trunk: SharedTrunkFigures
    one_photo: OnePhotoFigures
    settings: Mapping[str, Any]
    machine: Mapping[str, Any]

    def flat(self) -> dict[str, Any]:
        """Give the figures as flat keys for JSON: those of a runner as ``onnx_fp32_forward_images_per_s``."""
        keys = flat(self.bare)
        for way, engine in self.engines.items():
            keys |= {f"{way}{key}": value for key, value in flat(engine).items()}
        for table in (self.forwards, self.agreements):
            for runner, figures in table.items():
                keys |= {f"{runner.runtime}_{runner.precision}_{key}": value for key, value in flat(figures).items()}
        return {**keys, **flat(self.shared_trunk), **flat(self.one_photo), **self.settings, **self.machine}


@dataclass(frozen=True)
class _Ground:
    """What all legs stand on: the photos and models that were made, and how they are to be answered."""

    folder: Path
    photos: int
    preprocessing: Preprocessing
    runtime: Runtime
    device: Literal["cpu", "cuda"]
    rounds: int
    progress: Progress

    @property
    def few(self) -> int:
        """Photos of a run that is little more than the start-up: one window, so that all Experts are asked."""
        return max(1, min(WINDOW, self.photos // 4))

    def models(self, kind: Literal["own", "shared"]) -> Path:
        return self.folder / f"models-{kind}"

    def photos_folder(self, count: int) -> Path:
        return self.folder / f"photos-{count}"

    def drawn_pixels(self) -> Pixels:
        """Read the photos that were drawn."""
        return np.stack([self.preprocessing.read(path) for path in sorted((self.folder / "drawn").iterdir())])

    def pixels(self) -> Pixels:
        """Read a window of photos."""
        drawn = self.drawn_pixels()
        return drawn[np.arange(WINDOW) % len(drawn)]


def bench_inference(
    *,
    backbone: str = "efficientnet_b0",
    image_size: int = 224,
    photos: int = 400,
    megapixels: float = 12,
    rounds: int = 3,
    runtime: Runtime = "auto",
    device: Literal["cpu", "cuda"] = "cpu",
    progress: Progress = SILENT,
) -> InferenceFigures:
    """Measure inference on this machine, with random weights and drawn photos that are deleted in the end.

    Args:
        backbone: The image encoder.
        image_size: Side of the square that it sees, pixels.
        photos: Photos of a stretch of the engine, 2 or more.
        megapixels: Their size.
        rounds: How often each figure is measured.
        runtime: Who runs the engine's networks; `auto` measures the forward passes of every runtime that is here.
        device: Where networks run, those of the plain loop too.
        progress: Shows how far it is.

    Raises:
        ConfigError: no image encoder has this name or can see this size, or the runtime is not for this device.
        MissingExtraError: the runtime is not installed.
        OutputError: photos or weights cannot be written.
        GeoMindError: a process of the bench fails.
    """
    pick_runtime(runtime, device=device)
    build_backbone(backbone, image_size)  # a name that is none is refused before photos are drawn
    keep_freed_memory()  # as `geomind infer` does
    with tempfile.TemporaryDirectory(prefix="geomind-bench-") as name:
        preprocessing = Preprocessing(image_size=image_size)
        ground = _Ground(Path(name), photos, preprocessing, runtime, device, rounds, progress)
        runners = _runners(runtime, device)
        _lay_out(ground, backbone, size_of(megapixels), runners)
        forwards = _measure_forwards(ground, runners)
        bare, engines = _measure_engines(ground, _best(forwards))
        return InferenceFigures(
            engines=engines,
            bare=bare,
            forwards=forwards,
            agreements=_compare(ground, runners),
            shared_trunk=_measure_shared_trunk(ground),
            one_photo=_measure_one_photo(ground),
            settings={
                "backbone": backbone,
                "image_size": image_size,
                "photos": photos,
                "megapixels": megapixels,
                "rounds": rounds,
                "runtime": runtime,
                "device": device,
            },
            machine={**machine(), **_versions()},
        )


# ── what it stands on ────────────────────────────────────────────────────────────────────────────────────────────────


def _runners(runtime: Runtime, device: str) -> list[Runner]:
    """List who can run a network here, the reference first; one runtime alone if it is named."""
    wanted: Sequence[Literal["torch", "onnx", "openvino"]] = ("torch", "onnx", "openvino")
    if runtime != "auto":
        wanted = (runtime,)
    elif not can_make_onnx_files():
        wanted = ("torch",)
    all_runners = [Runner(each, "fp32") for each in wanted] + [Runner(each, "bf16") for each in wanted]
    others = [runner for runner in all_runners if runner != REFERENCE and _can_run(*runner, device)]
    return [REFERENCE, *others]


def _can_run(runtime: Runtime, precision: Precision, device: str) -> bool:
    """Tell whether a runtime is here and counts in this: ONNX Runtime has no bf16 on a CPU."""
    try:
        pick_runtime(runtime, precision, device)
    except (ConfigError, MissingExtraError):
        return False
    return True


def _lay_out(ground: _Ground, backbone: str, size: tuple[int, int], runners: Sequence[Runner]) -> None:
    """Make photos, models and the ONNX files that runtimes would make when they first need them."""
    drawn = draw_photos(ground.folder / "drawn", DRAWN, size, progress=ground.progress)
    for count in {ground.photos, ground.few, 1}:
        folder = make_folder(ground.photos_folder(count))
        for number, photo in zip(range(count), itertools.cycle(drawn)):
            (folder / f"{number:06d}.jpg").hardlink_to(photo)
    own, shared = ground.models("own"), ground.models("shared")
    make_models(own, shared, backbone, ground.drawn_pixels(), progress=ground.progress)
    if all(runner.runtime == "torch" for runner in runners):
        return
    experts = [expert_path(own, region) for region in default_regions().regions]
    with ground.progress.track("Making ONNX files", 1 + len(experts)) as advance:
        director = director_path(own)
        file = find_or_make(director, functools.partial(load_director_network, director))
        shutil.copy(file, director_path(shared).with_name(file.name))  # of the same weights
        advance(1)
        for path in experts:
            find_or_make(path, functools.partial(load_expert_network, path))
            advance(1)


# ── legs: each does one stretch of work ──────────────────────────────────────────────────────────────────────────────


def plain_rate(ground: _Ground, memory_mb: list[float | None]) -> float:
    """Run the plain loop: -> photos a second; its peak goes to ``memory_mb``."""
    figures = ground.folder / "plain.json"
    count = min(_PLAIN_PHOTOS, ground.photos)
    ran = run_python(
        "-m", "geomind.bench.plain_loop", ground.models("own"), ground.photos_folder(ground.photos), str(count),
        ground.device, figures,
    )  # fmt: skip
    memory_mb.append(ran.peak_memory_mb)
    return float(json.loads(figures.read_text(encoding="utf-8"))["images_per_s"])


def decode_rate(ground: _Ground) -> float:
    """Decode photos on all cores, a thread each: -> photos a second."""
    at_once = cores()
    paths = list((ground.photos_folder(ground.photos)).iterdir())
    wanted = list(itertools.islice(itertools.cycle(paths), _DECODED_A_CORE * at_once))
    with ThreadPoolExecutor(at_once) as pool:
        started = time.perf_counter()
        for _ in pool.map(ground.preprocessing.read, wanted):
            pass
        return len(wanted) / (time.perf_counter() - started)


def forward_rate(answer: Callable[[Pixels], object], pixels: Pixels) -> float:
    """Have windows of photos answered, by whatever takes (N, 3, S, S): -> photos a second."""
    started, done, seconds = time.perf_counter(), 0, 0.0
    while not done or seconds < _FORWARD_SECONDS:
        answer(pixels)
        done += len(pixels)
        seconds = time.perf_counter() - started
    return done / seconds


def infer_run(ground: _Ground, way: Way, count: int) -> Ran:
    """Run `geomind infer` over so many photos."""
    return run_python(
        "-m", "geomind", "infer", "--images-dir", ground.photos_folder(count), "--models", ground.models(way.models),
        "--output", ground.folder / "predictions.csv", "--overwrite", "--runtime", ground.runtime,
        "--precision", way.precision, "--device", ground.device,
    )  # fmt: skip


@dataclass(frozen=True)
class _EngineRun:
    """A run of the engine over all photos, beside one over a few."""

    images_per_s: float
    startup_seconds: float
    peak_memory_mb: float | None


def engine_run(ground: _Ground, way: Way) -> _EngineRun:
    """Run the engine over few photos and over all: what the second takes longer, it takes for photos."""
    few, whole = infer_run(ground, way, ground.few), infer_run(ground, way, ground.photos)
    seconds = whole.seconds - few.seconds
    # So few photos that they vanish in the start-up's own ups and downs: then they bear it.
    rate = (ground.photos - ground.few) / seconds if seconds > 0 else ground.photos / whole.seconds
    return _EngineRun(rate, max(0.0, few.seconds - ground.few / rate), whole.peak_memory_mb)


# ── measurements: legs one after the other, and what follows from them ───────────────────────────────────────────────


def _measure_forwards(ground: _Ground, runners: Sequence[Runner]) -> dict[Runner, ForwardFigures]:
    pixels = ground.pixels()

    def leg(runner: Runner) -> Leg:
        director = _director(ground, runner)
        director.answer(pixels)
        return functools.partial(forward_rate, director.answer, pixels)

    others = {runner: leg(runner) for runner in runners if runner != REFERENCE}
    named = {" ".join(runner): each for runner, each in others.items()}
    with ground.progress.track("Forward passes", legs(ground.rounds, len(others))) as advance:
        references, compared = interleave(leg(REFERENCE), named, rounds=ground.rounds, advance=advance)
    figures = {REFERENCE: ForwardFigures(Spread.of(references), Spread.of([1.0]))}
    for runner in others:
        pairs = compared[" ".join(runner)]
        figures[runner] = ForwardFigures(
            Spread.of([pair.figure for pair in pairs]), Spread.of([pair.ratio for pair in pairs])
        )
    return figures


def _director(ground: _Ground, runner: Runner) -> Director:
    path = director_path(ground.models("own"))
    return Director.load(path, ground.device, runtime=runner.runtime, precision=runner.precision)


def _best(forwards: Mapping[Runner, ForwardFigures]) -> dict[Precision, Runner]:
    """Choose the quickest runner of each precision."""
    ordered = sorted(forwards, key=lambda runner: forwards[runner].forward_images_per_s.median)
    return {runner.precision: runner for runner in ordered}


@dataclass(frozen=True)
class _Bare:
    """What an engine's run is compared with: measured in one stretch, all in photos a second."""

    plain: float
    decode: float
    forward: Mapping[Precision, float]

    def limit(self, way: Way, device: str) -> float:
        """Give the rate of decoding and of the passes on the same cores; a GPU passes while they decode."""
        passes = self.forward[way.precision] / way.passes
        return min(self.decode, passes) if device == "cuda" else 1 / (1 / self.decode + 1 / passes)


def _measure_engines(ground: _Ground, best: Mapping[Precision, Runner]) -> tuple[BareFigures, dict[str, EngineFigures]]:
    pixels, directors = ground.pixels(), {precision: _director(ground, runner) for precision, runner in best.items()}
    ways = {name: way for name, way in WAYS.items() if _can_run(ground.runtime, way.precision, ground.device)}
    bare, memory_mb = list[_Bare](), list[float | None]()
    runs: dict[str, list[_EngineRun]] = {name: [] for name in ways}

    def reference() -> float:
        for director in directors.values():
            director.answer(pixels)
        bare.append(
            _Bare(
                plain_rate(ground, memory_mb),
                decode_rate(ground),
                {precision: forward_rate(director.answer, pixels) for precision, director in directors.items()},
            )
        )
        return bare[-1].plain

    def run(name: str) -> float:
        runs[name].append(engine_run(ground, ways[name]))
        return runs[name][-1].images_per_s

    with ground.progress.track("The engine and the plain loop", legs(ground.rounds, len(ways))) as advance:
        _, compared = interleave(
            reference, {name: functools.partial(run, name) for name in ways}, rounds=ground.rounds, advance=advance
        )
    limits = {name: [each.limit(way, ground.device) for each in bare] for name, way in ways.items()}
    engines = {}
    for number, name in enumerate(ways):
        # In each round every way has its turn, with the bare work before and after it.
        turns = range(number, len(bare) - 1, len(ways))
        around = [(limits[name][turn] + limits[name][turn + 1]) / 2 for turn in turns]
        engines[name] = _sum_up(runs[name], around, [pair.ratio for pair in compared[name]])
    plain = Spread.of([each.plain for each in bare])
    return BareFigures(plain, _spread(memory_mb), Spread.of([each.decode for each in bare])), engines


def _sum_up(runs: Sequence[_EngineRun], limits: Sequence[float], ratios_to_plain: Sequence[float]) -> EngineFigures:
    return EngineFigures(
        engine_images_per_s=Spread.of([run.images_per_s for run in runs]),
        limit_images_per_s=Spread.of(limits),
        ratio_to_plain=Spread.of(ratios_to_plain),
        ratio_to_limit=Spread.of([run.images_per_s / limit for run, limit in zip(runs, limits, strict=True)]),
        startup_seconds=Spread.of([run.startup_seconds for run in runs]),
        peak_memory_mb=_spread([run.peak_memory_mb for run in runs]),
    )


def _compare(ground: _Ground, runners: Sequence[Runner]) -> dict[Runner, Agreement]:
    agreements = {}
    with ground.progress.track("Comparing answers", len(runners)) as advance:
        regions, squares = _answers(ground, REFERENCE)
        advance(1)
        for runner in runners:
            if runner == REFERENCE:
                continue
            others, other_squares = _answers(ground, runner)
            same = regions == others
            difference = np.abs(squares - other_squares)[same].max(initial=0.0)
            agreements[runner] = Agreement(float(same.mean()), float(difference))
            advance(1)
    return agreements


def _answers(ground: _Ground, runner: Runner) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Answer photos by the cascade: -> (N,) regions, (N, 2) places in the unit squares of their boxes."""
    how: dict[str, Any] = runner._asdict()
    cascade = Cascade.load(ground.models("own"), device=ground.device, **how)
    rows = [
        row
        for pixels in _mixtures(ground.pixels(), _COMPARED_WINDOWS)
        for row in cascade.locate(pixels, ["photo"] * len(pixels))
    ]
    places = np.array([(row.latitude, row.longitude) for row in rows], dtype=np.float64)
    return np.array([row.region_id for row in rows]), Box(*BOX).normalize(places)


def _mixtures(pixels: Pixels, windows: int) -> Iterator[Pixels]:
    """Lay two photos over each other, any two and by any share: some are near the border between two regions."""
    rng = np.random.default_rng(0)
    for _ in range(windows):
        share = rng.random((len(pixels), 1, 1, 1), dtype=np.float32)
        yield share * pixels[rng.permutation(len(pixels))] + (1 - share) * pixels[rng.permutation(len(pixels))]


def _measure_shared_trunk(ground: _Ground) -> SharedTrunkFigures:
    pixels = ground.pixels()

    def leg(kind: Literal["own", "shared"]) -> Leg:
        cascade = Cascade.load(ground.models(kind), runtime=ground.runtime, device=ground.device)
        names = ["photo"] * len(pixels)
        cascade.locate(pixels, names)  # loads the Experts
        return functools.partial(forward_rate, lambda pixels: cascade.locate(pixels, names), pixels)

    others = {"shared trunk": leg("shared")}
    with ground.progress.track("The shared trunk", legs(ground.rounds, len(others))) as advance:
        own, compared = interleave(leg("own"), others, rounds=ground.rounds, advance=advance)
    shared = compared["shared trunk"]
    return SharedTrunkFigures(
        Spread.of(own), Spread.of([each.figure for each in shared]), Spread.of([each.ratio for each in shared])
    )


def _measure_one_photo(ground: _Ground) -> OnePhotoFigures:
    package = PACKAGES[pick_runtime(ground.runtime, device=ground.device)]
    others = {"one photo": lambda: infer_run(ground, WAYS[""], 1).seconds}
    with ground.progress.track("One photo", legs(ground.rounds, len(others))) as advance:
        importing, compared = interleave(
            lambda: run_python("-c", f"import {package}").seconds, others, rounds=ground.rounds, advance=advance
        )
    one = compared["one photo"]
    return OnePhotoFigures(
        Spread.of([each.figure for each in one]), Spread.of(importing), Spread.of([each.ratio for each in one])
    )


def _spread(values: Sequence[float | None]) -> Spread | None:
    """Sum up what every run told, or nothing."""
    told = [value for value in values if value is not None]
    return Spread.of(told) if told else None


def _versions() -> dict[str, str | None]:
    """Name the versions of the runtimes; that of torch stands with the machine."""
    versions = dict[str, str | None]()
    for package in ("onnxruntime", "openvino"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return versions
