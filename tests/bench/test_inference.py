from __future__ import annotations

import functools
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Run
from hypothesis import given
from hypothesis import strategies as st

from geomind.bench import inference
from geomind.bench.drawn_photos import size_of
from geomind.bench.inference import REFERENCE, WAYS, InferenceFigures, Runner, bench_inference
from geomind.bench.processes import Ran
from geomind.checkpoints import director_path
from geomind.errors import ConfigError
from geomind.photos import Preprocessing
from geomind.predictions import read_predictions
from geomind.progress import SILENT

PROMISED = {
    "plain_images_per_s", "engine_images_per_s", "limit_images_per_s", "ratio_to_plain", "ratio_to_limit",
    "peak_memory_mb", "shared_engine_images_per_s", "shared_ratio_to_plain", "shared_forward_ratio", "one_photo_ratio",
    "decode_images_per_s", "torch_fp32_forward_images_per_s", "torch_bf16_same_region",
    "torch_bf16_largest_difference", "cores", "photos", "megapixels",
}  # fmt: skip


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def ground(folder: Path, photos: int = 8) -> inference._Ground:
    return inference._Ground(folder, photos, Preprocessing(image_size=32), "torch", "cpu", 1, SILENT)


@pytest.fixture
def laid_out(tmp_path: Path) -> inference._Ground:
    """Photos and models of a tiny bench."""
    made = ground(tmp_path / "bench", photos=26)
    inference._lay_out(made, "scene_net", size_of(0.1), [REFERENCE])
    return made


STARTUP, IMPORT, PLAIN, FORWARD = 3.0, 0.5, 2.0, 1000.0
RATES = {("own", "fp32"): 20.0, ("own", "bf16"): 24.0, ("shared", "fp32"): 30.0, ("shared", "bf16"): 40.0}


@pytest.fixture
def known_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose programs take known times, and whose decoding becomes quicker each time: 100, 200, … a second."""

    def run(*arguments: str | Path) -> Ran:
        words = [str(argument) for argument in arguments]
        if words[0] == "-c":
            assert words[1] == "import torch"
            return Ran(IMPORT, 10.0)
        if "geomind.bench.plain_loop" in words:
            Path(words[-1]).write_text(json.dumps({"images_per_s": PLAIN}))
            return Ran(60.0, 900.0)
        option = dict(zip(words[3::2], words[4::2], strict=False))
        count = len(list(Path(option["--images-dir"]).iterdir()))
        rate = RATES[option["--models"].rpartition("-")[2], words[words.index("--precision") + 1]]
        return Ran(STARTUP + count / rate, 300.0 + count)

    decoded: list[float] = []

    def decode(_: object) -> float:
        decoded.append(100.0 * (1 + len(decoded)))
        return decoded[-1]

    monkeypatch.setattr(inference, "run_python", run)
    monkeypatch.setattr(inference, "decode_rate", decode)
    monkeypatch.setattr(inference, "forward_rate", lambda *_: FORWARD)
    monkeypatch.setattr(inference, "_COMPARED_WINDOWS", 1)


@pytest.fixture
def tiny(known_machine: None, temporary: Path) -> Callable[..., InferenceFigures]:
    return functools.partial(
        bench_inference, backbone="scene_net", image_size=32, photos=8, megapixels=0.1, runtime="torch"
    )


def test_figures_follow_from_their_parts_and_nothing_is_left(
    tiny: Callable[..., InferenceFigures], temporary: Path
) -> None:
    figures = tiny(rounds=2)
    assert list(temporary.iterdir()) == []
    keys = figures.flat()
    assert set(keys) >= PROMISED
    assert json.loads(json.dumps(keys, allow_nan=False)) == keys
    assert keys["plain_images_per_s"] == PLAIN
    assert keys["plain_peak_memory_mb"] == 900
    for place, (name, way) in enumerate(WAYS.items()):
        rate = RATES[way]
        assert keys[f"{name}engine_images_per_s"] == pytest.approx(rate)
        assert keys[f"{name}ratio_to_plain"] == pytest.approx(rate / PLAIN)
        assert keys[f"{name}startup_seconds"] == pytest.approx(STARTUP)
        assert keys[f"{name}peak_memory_mb"] == 308  # of the run over all 8
        # Leg n has the n-th and the next decoding around it; in the second round, four legs later.
        limits = [
            sum(1 / (1 / decode + way.passes / FORWARD) for decode in (100 * n, 100 * (n + 1))) / 2
            for n in (place + 1, place + 5)
        ]
        assert keys[f"{name}limit_images_per_s_min"] == pytest.approx(min(limits))
        assert keys[f"{name}limit_images_per_s_max"] == pytest.approx(max(limits))
        assert keys[f"{name}ratio_to_limit_max"] == pytest.approx(rate / min(limits))
    assert keys["one_photo_ratio"] == pytest.approx((STARTUP + 1 / 20) / IMPORT)
    assert keys["torch_bf16_forward_ratio"] == keys["shared_forward_ratio"] == 1
    assert "torch_fp32_same_region" not in keys
    assert 0 <= keys["torch_bf16_same_region"] <= 1
    assert 0 < keys["torch_bf16_largest_difference"] < 0.1
    assert (keys["backbone"], keys["photos"], keys["megapixels"]) == ("scene_net", 8, 0.1)


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"backbone": "b0"}, "Unknown backbone 'b0'"),
        ({"runtime": "onnx", "device": "cuda"}, "On a GPU there is the runtime torch"),
    ],
)
def test_what_cannot_be_is_refused_before_photos_are_drawn(
    wrong: dict[str, str], complaint: str, tiny: Callable[..., InferenceFigures], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "draw_photos", lambda *_, **__: pytest.fail("drawn"))
    with pytest.raises(ConfigError, match=complaint):
        tiny(**wrong)


RATE = st.floats(1e-2, 1e5)


@given(RATE, RATE, st.sampled_from(list(WAYS.values())))
def test_the_limit_adds_core_seconds_and_a_gpu_works_beside_them(
    decode: float, forward: float, way: inference.Way
) -> None:
    bare = inference._Bare(1.0, decode, {way.precision: forward})
    passes = forward / way.passes
    assert 1 / bare.limit(way, "cpu") == pytest.approx(1 / decode + 1 / passes)
    assert bare.limit(way, "cuda") == min(decode, passes) >= bare.limit(way, "cpu")


@given(st.floats(0, 10), st.floats(0.1, 1e4), st.integers(2, 2000))
def test_the_start_up_does_not_count(startup: float, rate: float, photos: int) -> None:
    here = ground(Path("nowhere"), photos)
    assert 1 <= here.few < photos
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inference, "infer_run", lambda ground, way, count: Ran(startup + count / rate, None))
        run = inference.engine_run(here, WAYS[""])
    assert run.images_per_s == pytest.approx(rate, rel=1e-3)
    assert run.startup_seconds == pytest.approx(startup, abs=1e-3 * (startup + photos / rate))


def test_photos_that_vanish_in_the_start_up_bear_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {2: 3.1, 8: 3.0}
    monkeypatch.setattr(inference, "infer_run", lambda ground, way, count: Ran(seconds[count], None))
    run = inference.engine_run(ground(Path("nowhere")), WAYS[""])
    assert run.images_per_s == pytest.approx(8 / 3)


def test_the_quickest_of_each_precision_makes_the_limit() -> None:
    def measured(rate: float) -> inference.ForwardFigures:
        spread = inference.Spread(rate, rate, rate)
        return inference.ForwardFigures(spread, spread)

    onnx, openvino = Runner("onnx", "fp32"), Runner("openvino", "fp32")
    in_bf16 = Runner("openvino", "bf16")
    best = inference._best({REFERENCE: measured(1), onnx: measured(5), openvino: measured(4), in_bf16: measured(2)})
    assert best == {"fp32": onnx, "bf16": in_bf16}


def test_runners_are_those_that_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geomind.runtimes._installed", lambda runtime: runtime != "openvino")
    monkeypatch.setattr(inference, "can_make_onnx_files", lambda: True)
    in_bf16 = Runner("torch", "bf16")
    assert inference._runners("auto", "cpu") == [REFERENCE, Runner("onnx", "fp32"), in_bf16]
    assert inference._runners("onnx", "cpu") == [REFERENCE, Runner("onnx", "fp32")]
    assert inference._runners("auto", "cuda") == [REFERENCE, in_bf16]
    monkeypatch.setattr(inference, "can_make_onnx_files", lambda: False)
    assert inference._runners("auto", "cpu") == [REFERENCE, in_bf16]


def test_a_named_runtime_is_not_asked_for_what_it_has_not() -> None:
    able = [name for name, way in WAYS.items() if inference._can_run("onnx", way.precision, "cpu")]
    assert able == ["", "shared_fp32_"]


def test_answers_are_compared_where_the_region_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        REFERENCE: (np.array([1, 2, 3, 4]), np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6], [0.7, 0.8]])),
        Runner("torch", "bf16"): (np.array([1, 2, 0, 4]), np.array([[0.1, 0.2], [0.3, 0.41], [0.9, 0.9], [0.7, 0.8]])),
    }
    monkeypatch.setattr(inference, "_answers", lambda _, runner: answers[runner])
    (agreement,) = inference._compare(ground(Path("nowhere")), list(answers)).values()
    assert agreement.same_region == 0.75
    assert agreement.largest_difference == pytest.approx(0.01)


def test_mixtures_are_photos_laid_over_each_other(laid_out: inference._Ground) -> None:
    pixels = laid_out.pixels()
    first, second = inference._mixtures(pixels, 2)
    assert first.shape == second.shape == pixels.shape
    assert first.dtype == np.float32
    assert not np.array_equal(first, second)
    assert first.min() >= pixels.min()
    assert first.max() <= pixels.max()


def test_the_engine_and_the_plain_loop_run_as_programs(laid_out: inference._Ground) -> None:
    memory_mb: list[float | None] = []
    assert inference.plain_rate(laid_out, memory_mb) > 0
    ran = inference.infer_run(laid_out, WAYS["shared_"], 26)
    rows = read_predictions(laid_out.folder / "predictions.csv")
    assert [row.region_id for row in rows] == [*range(13), *range(13)]
    if sys.platform.startswith("linux"):
        assert memory_mb[0] is not None
        assert memory_mb[0] > 50
        assert ran.peak_memory_mb is not None


def test_onnx_files_are_made_before_anything_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []

    def make(checkpoint: Path, build: object) -> Path:
        made.append(checkpoint)
        file = checkpoint.with_name(f"{checkpoint.stem}.0123abcd.onnx")
        file.touch()
        return file

    monkeypatch.setattr(inference, "find_or_make", make)
    here = ground(tmp_path)
    inference._lay_out(here, "scene_net", size_of(0.1), [REFERENCE, Runner("onnx", "fp32")])
    assert len(set(made)) == 14
    assert all(path.is_file() for path in made)
    assert director_path(here.models("shared")).with_name("director.0123abcd.onnx").is_file()


def test_rates_are_of_the_work_that_is_done(laid_out: inference._Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "_FORWARD_SECONDS", 0)
    seen: list[int] = []
    assert inference.forward_rate(lambda pixels: seen.append(len(pixels)), laid_out.pixels()) > 0
    assert seen == [inference.WINDOW]
    monkeypatch.setattr(inference, "_DECODED_A_CORE", 2)
    assert inference.decode_rate(laid_out) > 0


def test_bench_infer_prints_a_table_and_writes_its_figures(
    geomind: Run, known_machine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = ["--backbone", "scene_net", "--image-size", 32, "--photos", 8, "--megapixels", 0.1, "--runtime", "torch"]
    code, said, complaint = geomind("bench", "infer", *tiny, "--rounds", 1, "--json", "bench.json")
    assert code == 0, complaint
    figures = json.loads(Path("bench.json").read_text())
    assert set(figures) >= PROMISED
    assert "8 photos of 0.1 megapixels, scene_net at 32 px" in said
    assert "geomind infer, shared trunk, bf16" in said
    assert f"{figures['shared_engine_images_per_s']:,.1f} images/s" in said
    assert f"{figures['ratio_to_plain']:.2f} x" in said
    assert f"{figures['ratio_to_limit']:.1%}" in said
    assert f"torch bf16: the region that torch fp32 gives on {figures['torch_bf16_same_region']:.2%}" in said
    code, _, complaint = geomind("bench", "infer", *tiny, "--json", "bench.json")
    assert code == 1
    assert "bench.json exists already" in complaint


def test_help_says_defaults_and_units(geomind: Run) -> None:
    code, said, _ = geomind("bench", "infer", "--help")
    assert code == 0
    for words in ("megapixels", "[default: 12", "[default: 400", "[default: efficientnet_b0]", "[default: auto]"):
        assert words in said
