"""Many machines: the engine's work in parts, handed out by Ray Data. It knows no networks.

The list of photos is cut into parts of consecutive photos. An actor answers a part with the engine of one machine and
writes it to one Parquet file, whole or not at all. So a part that was lost with its actor or its machine is answered
again by another one, a finished part never is, and the parts in the order of their names are the rows of one machine.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import os
import platform
import re
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import parquet

from geomind.cascade import REGION_MEDIAN
from geomind.devices import Device, keep_freed_memory
from geomind.errors import ConfigError, MissingExtraError, OutputError
from geomind.files import make_folder, refuse_existing
from geomind.geolocators import Answering, calibration_of, check_models, load_geolocator
from geomind.inference.engine import WINDOW, Inference, locate_photos
from geomind.inference.partial import Partial, open_partial, partial_folder
from geomind.inference.photo_list import Photos
from geomind.predictions import write_predictions
from geomind.progress import SILENT, Progress
from geomind.runtimes import pick_runtime, share_cores

PART = 128 * WINDOW
"""Photos of a part: two minutes of eight cores, which is what a killed actor loses, and half a megabyte of rows."""

ACTOR_CPUS = 8
"""Most cores of an actor: with more, its threads wait for each other in Python. A larger machine has several actors."""

RETRIES = 3
"""How often a part is begun again, be it that it failed or that its actor died."""

FAILED_PARTS = 10
"""Parts that may fail for good before the run ends: a few must not stop the others, a full disk must."""

_PART = re.compile(r"part-\d{6,}\.parquet", re.ASCII)


def infer_on_ray(
    photos: Photos,
    output: Path | str,
    models: Path | str,
    how: Answering | None = None,
    *,
    address: str | None = None,
    batch_size: int = WINDOW,
    part_size: int = PART,
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    made_with: Mapping[str, str] | None = None,
    progress: Progress = SILENT,
) -> Inference:
    """Answer every photo on the machines of a Ray cluster and write the rows as a folder of Parquet parts, in order.

    All machines must see the photos, the models and the output under the same paths. Finished parts are kept in
    ``OUTPUT.unfinished`` until all are there.

    Args:
        photos: The photos; the rows name each as that names it.
        output: The folder of the parts; its name ends in .parquet.
        models: The folder of trained models.
        how: How they answer. The runtime `auto` is decided here, once for all machines; the device `auto` takes the
            GPUs, if any machine has one, and then only them; ``threads`` are the cores of an actor, too (see
            ``ACTOR_CPUS``), and ``max_memory_mb`` is for each of them.
        address: Where the cluster is, ``host:port``; if left out, the one that this machine belongs to (or that
            ``RAY_ADDRESS`` names), or else a new one of this machine alone. A program that is connected stays
            so; Ray may then keep the actors of a run whose parts failed, and a later run in it waits for their cores.
        batch_size: Photos answered at once.
        part_size: Photos of a part, filled up to whole batches, so that the batches are those of one machine.
        workers: Threads of an actor that decode; if left out, one for each of its cores, or with torch for three.
        resume: Go on with an unfinished inference of the same photos, if there is one.
        overwrite: Replace an existing output, or an unfinished one.
        made_with: What else the answers depend on, in words, as the engine takes it.
        progress: Shows photos done.

    Raises:
        MissingExtraError: Ray, or the runtime, is not installed.
        ConfigError: no cluster answers, it has not the cores or GPUs that were asked for, or answers should abstain
            and there is no calibration.
        CheckpointError: the models are missing, broken or do not fit each other.
        PhotoError, ManifestError: there are no photos.
        OutputError: the output exists or cannot be written, the unfinished inference is another one, or parts failed.
    """
    how = how or Answering()
    output, models = Path(output).absolute(), Path(models).absolute()
    _refuse(output, overwrite=overwrite)
    description = check_models(models)
    calibration_of(models, how)  # refuses here what every actor would refuse
    part_size = math.ceil(part_size / batch_size) * batch_size
    parts = partial_folder(output) / "parts"

    def names() -> Iterator[str]:  # asked only where the work is begun, when parts that are there are of another run
        _remove(parts)
        return photos.names()

    with contextlib.ExitStack() as cluster:
        cluster.enter_context(_connected(address))
        crew = _crew(how.device, how.threads)
        runtime = pick_runtime(how.runtime, how.precision, crew.device)
        arguments = {
            "set of photos": photos.described,
            "preprocessing": description.preprocessing.model_dump_json(),
            "size of parts": str(part_size),
            "kind of device": crew.device,
            "runtime": runtime,
            **(made_with or {}),
        }
        with open_partial(output, names, arguments, resume=resume, overwrite=overwrite) as partial:
            make_folder(parts)
            workers, shared = share_cores(runtime, crew.device, crew.cpus, workers, how.threads)
            orders = _Orders(
                photo_list=partial.photo_list,
                root=str(Path(photos.path("")).absolute()),
                parts=parts,
                models=models,
                how=replace(how, runtime=runtime, device=crew.device, threads=shared or crew.cpus),
                batch_size=batch_size,
                workers=workers or crew.cpus,
            )
            try:
                counts = _answer(partial, orders, part_size, crew, progress)
                _move(parts, output, partial.folder / "replaced")
            finally:
                cluster.close()  # no actor of a stopped run writes any more
                _sweep(parts)
    failed = counts.photos - counts.located
    return Inference(counts.photos, counts.located, failed, counts.fallbacks, counts.abstained, output)


# ── the machine that hands out ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Crew:
    """The actors: on each machine as many as its cores or its GPUs allow."""

    device: Literal["cpu", "cuda"]
    size: int
    cpus: int
    """Cores of each."""


@dataclass(frozen=True)
class _Counts:
    """How many photos of a part, or of all, came to what."""

    photos: int = 0
    located: int = 0
    fallbacks: int = 0
    abstained: int = 0

    def __add__(self, other: _Counts) -> _Counts:
        return _Counts(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))


@contextlib.contextmanager
def _connected(address: str | None) -> Iterator[None]:
    """Be connected with a cluster while the block runs.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: no cluster answers.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("--engine ray needs an extra: pip install 'geomind[ray]'.") from error
    if ray.is_initialized():
        yield
        return
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # its progress is ours
    how: dict[str, Any] = {} if address else {"include_dashboard": False}
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.WARNING, **how)
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"No Ray cluster answers at {address or 'this machine'}: {_first_line(error)} See `ray status` there."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _crew(device: Device, threads: int | None) -> _Crew:
    """Fit actors into the machines of the cluster, as they are now.

    Raises:
        ConfigError: there is no machine for them.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    sizes = [(int(node.get("CPU", 0)), int(node.get("GPU", 0))) for node in nodes if node.get("CPU", 0) >= 1]
    gpus = [(cpu, gpu) for cpu, gpu in sizes if gpu]
    if device == "cuda" and not gpus:
        raise ConfigError("The Ray cluster has no GPU. Choose the device cpu, or auto.")
    if device != "cpu" and gpus:
        cpus = threads or max(1, min(cpu // gpu for cpu, gpu in gpus))
        crew = _Crew("cuda", sum(min(gpu, cpu // cpus) for cpu, gpu in gpus), cpus)
    else:
        cpus = threads or min((ACTOR_CPUS, *(cpu for cpu, _ in sizes)))
        crew = _Crew("cpu", sum(cpu // cpus for cpu, _ in sizes), cpus)
    if not crew.size:
        raise ConfigError(f"No machine of the Ray cluster has {cpus} CPUs. Choose fewer --threads.")
    return crew


def _answer(partial: Partial, orders: _Orders, part_size: int, crew: _Crew, progress: Progress) -> _Counts:
    """Have every part answered that is not there yet; tell ``partial`` how many rows there are.

    Raises:
        OutputError: a part failed for good.
    """
    done, to_do = _Counts(), []
    for number, (start, end) in enumerate(_cut(orders.photo_list, part_size)):
        photos = min(part_size, partial.total - number * part_size)
        finished = _count(orders.parts / _name(number))
        if finished is not None and finished.photos == photos:
            done += finished
        else:
            to_do.append({"part": number, "start": start, "end": end})
    partial.saved = done.photos
    if not to_do:
        return done
    began, before = time.monotonic(), done.photos
    answers = _hand_out(to_do, orders, crew)
    with progress.track("Locating photos", partial.total - before) as advance, contextlib.closing(answers):
        for counts in answers:
            done += counts
            partial.saved = done.photos
            speed = (done.photos - before) / max(time.monotonic() - began, 1e-9)
            advance(counts.photos, note=f"{speed:.1f} photos/s")
    if done.photos != partial.total:
        raise OutputError(
            f"{partial.total - done.photos:,} photos have no row: their parts failed {1 + RETRIES} times each. The log "
            "above says why. Mend that and go on with --resume."
        )
    return done


def _hand_out(parts: list[dict[str, int]], orders: _Orders, crew: _Crew) -> Generator[_Counts, None, None]:
    """Have parts answered by actors, and give what came of each as it is done; the actors end when it is closed.

    Raises:
        OutputError: too many failed, or no actor can begin.
    """
    import ray

    data = ray.data.from_items(parts, override_num_blocks=len(parts))
    data = data.map_batches(
        _Answerer,
        fn_constructor_args=[orders],
        batch_size=1,
        num_cpus=crew.cpus,
        num_gpus=1 if crew.device == "cuda" else None,
        # Two in flight: the next part waits at its actor while one is answered, and not more are late when it dies.
        compute=ray.data.ActorPoolStrategy(
            min_size=1, initial_size=crew.size, max_size=crew.size, max_tasks_in_flight_per_actor=2
        ),
    )
    context = data.context
    context.enable_progress_bars = context.print_on_execution_start = False
    context.retried_map_errors, context.max_map_retries = True, RETRIES
    context.max_errored_blocks = FAILED_PARTS
    context.execution_no_progress_timeout_s = -1  # a part may take long, and a lost machine may come back
    try:
        # Not by `iter_batches`: its thread may miss that it is over and keep the last answers, and they their actors.
        for bundle in data.iter_internal_ref_bundles():
            for reference in bundle.block_refs:
                answers = ray.data.block.BlockAccessor.for_block(ray.get(reference)).to_numpy()
                for counts in zip(*(answers[each.name] for each in fields(_Counts)), strict=True):
                    yield _Counts(*map(int, counts))
    except ray.exceptions.RayError as error:
        raise OutputError(f"The Ray cluster cannot go on: {_said(error)} Go on with --resume.") from error


def _said(error: Exception) -> str:
    """Give what our own code said, of all that Ray tells around it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    ours = [line.partition(": ")[2] for line in lines if line.startswith("geomind.errors.")]
    return ours[-1] if ours else f"{lines[-1] if lines else type(error).__name__}."


def _first_line(error: Exception) -> str:
    return f"{str(error).partition(chr(10))[0].rstrip('.')}."


# ── the machines that answer ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Orders:
    """What every actor is told when it begins."""

    photo_list: Path
    root: str
    parts: Path
    models: Path
    how: Answering
    """How the models answer."""
    batch_size: int
    workers: int


class _Answerer:
    """An actor: it loads the models once and answers one part after the other."""

    def __init__(self, orders: _Orders) -> None:
        if not orders.photo_list.is_file():
            raise OutputError(
                f"{platform.node()} does not see {orders.photo_list}. Put photos, models and output on a disk "
                "that all machines share, under the same path."
            )
        keep_freed_memory()
        self._orders = orders
        self._geolocator = load_geolocator(orders.models, orders.how)

    def __call__(self, batch: dict[str, NDArray[np.int64]]) -> dict[str, list[int]]:
        """Answer a part (its number, the bytes of the list that name its photos) and give its counts."""
        number, start, end = (int(batch[column][0]) for column in ("part", "start", "end"))
        orders = self._orders
        names = _read_names(orders.photo_list, start, end)
        paths = [os.path.join(orders.root, name) for name in names]  # noqa: PTH118
        part = orders.parts / _name(number)
        self._begin(part, names)
        rows = locate_photos(paths, names, self._geolocator, batch_size=orders.batch_size, workers=orders.workers)
        columns = self._geolocator.extra_columns
        write_predictions(rows, part, overwrite=True, with_truth=False, extra_columns=columns)
        counts = _count(part)
        if counts is None or counts.photos != len(names):
            raise OutputError(f"{part} is not what was written. Look at the disk.")
        return {name: [count] for name, count in vars(counts).items()}

    def _begin(self, part: Path, names: list[str]) -> None:
        """Count how often a part was begun. Ray would begin one for ever whose photo takes the process with it.

        Raises:
            OutputError: it was begun too often.
        """
        tries = part.with_name(f".{part.stem}.tries")
        with tries.open("a") as file:
            file.write("x")
            begun = file.tell()
        if begun > 1 + RETRIES:
            raise OutputError(
                f"the actors that answer {part.name} die. Look at the memory of the machines, or for a photo that "
                f"breaks its decoder, from {names[0]} to {names[-1]}."
            )


# ── the list and the parts ───────────────────────────────────────────────────────────────────────────────────────────


def _cut(photo_list: Path, size: int, block_bytes: int = 2**22) -> list[tuple[int, int]]:
    """Find the bytes of a list, (first, end), that name each ``size`` photos; the last ones may be fewer."""
    cuts, position, seen = [0], 0, 0
    with photo_list.open("rb") as file:
        while block := file.read(block_bytes):
            ends = np.flatnonzero(np.frombuffer(block, np.uint8) == 0)  # a zero ends each name
            cuts += (position + 1 + ends[size - seen % size - 1 :: size]).tolist()
            position += len(block)
            seen += len(ends)
    if cuts[-1] != position:
        cuts.append(position)
    return list(itertools.pairwise(cuts))


def _read_names(photo_list: Path, start: int, end: int) -> list[str]:
    with photo_list.open("rb") as file:
        file.seek(start)
        names = file.read(end - start).split(b"\0")[:-1]
    return [name.decode("utf-8", "surrogatepass") for name in names]


def _name(part: int) -> str:
    return f"part-{part:06d}.parquet"


def _count(part: Path) -> _Counts | None:
    """Count the rows of a part; None where it is not there or damaged."""
    try:
        rows = parquet.read_table(part, columns=["latitude", "error", "abstained"])
    except (OSError, pa.ArrowException):
        return None
    located = rows["latitude"].is_valid()
    fallbacks = pc.and_(located, pc.equal(rows["error"], REGION_MEDIAN))
    found = (pc.sum(flags).as_py() or 0 for flags in (located, fallbacks, rows["abstained"].is_valid()))
    return _Counts(len(rows), *found)


def _refuse(output: Path, *, overwrite: bool) -> None:
    """Stop before work begins whose parts could not be put where they belong.

    Raises:
        OutputError: the output exists and ``overwrite`` is false, or is something else than a file or parts.
    """
    if output.suffix.lower() != ".parquet":
        raise OutputError(
            f"Cannot write {output}: --engine ray writes a folder of Parquet parts. Choose a name ending in .parquet."
        )
    if not output.is_dir():
        refuse_existing(output, overwrite=overwrite)
        return
    if not overwrite:
        raise OutputError(f"{output} exists already. Choose another name, or replace it with --overwrite.")
    for each in output.iterdir():
        if not _PART.fullmatch(each.name):
            raise OutputError(f"{output} holds {each.name}, so it is no folder of parts. Choose another name.")


def _move(parts: Path, output: Path, replaced: Path) -> None:
    """Put finished parts where they belong, all at once, and remove what was there."""
    _sweep(parts)
    _remove(replaced)
    if output.exists():
        output.rename(replaced)
    parts.rename(output)
    _remove(replaced)


def _sweep(parts: Path) -> None:
    """Remove what actors left beside the parts, and a folder that is empty then."""
    for leftover in parts.glob(".part-*"):
        leftover.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        parts.rmdir()


def _remove(parts: Path) -> None:
    """Remove a folder of parts, or a file."""
    if parts.is_dir():
        for each in parts.iterdir():
            each.unlink()
        parts.rmdir()
    else:
        parts.unlink(missing_ok=True)
