"""`geomind infer`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from geomind.cli.answering import SPEED, Device, Precision, Routing, Runtime, TopK, UseGallery, Views, top_k_of
from geomind.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from geomind.cascade import Geolocator
    from geomind.inference.engine import Inference
    from geomind.inference.photo_list import Photos
    from geomind.outputs.write_back import Way
    from geomind.predictions import Prediction

_PHOTOS, _RUN, _MORE = "Photos and models", "Stop, go on, keep on", "What else to write"
_MANY, _SURE = "Many machines", "How sure"


def infer(
    images_dir: Annotated[
        Path | None,
        typer.Option(
            help="The folder of photos, walked with its subfolders; tars in it too.",
            show_default=False,
            rich_help_panel=_PHOTOS,
        ),
    ] = None,
    photo_list: Annotated[
        Path | None,
        typer.Option(
            "--list",
            metavar="FILE",
            help="Instead of a folder: a text file with a path a line, or a manifest. Paths are taken from its folder.",
            show_default=False,
            rich_help_panel=_PHOTOS,
        ),
    ] = None,
    models: Annotated[Path, typer.Option(help="The folder of trained models.", rich_help_panel=_PHOTOS)] = Path(
        "saved_models"
    ),
    output: Annotated[
        Path,
        typer.Option(
            help="The file to write, one row a photo: .csv, .parquet, .geojson, .kml or .gpx.", rich_help_panel=_PHOTOS
        ),
    ] = Path("predictions.csv"),
    format: Annotated[  # noqa: A002  the option is called so
        Literal["csv", "parquet", "geojson", "kml", "gpx"] | None,
        typer.Option(help="The output's format; by its ending if left out.", rich_help_panel=_PHOTOS),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing or unfinished output.", rich_help_panel=_PHOTOS)
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the output where a stopped run left it, if one did.", rich_help_panel=_RUN
        ),
    ] = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Keep on: append a row to the CSV for every photo that is added to the folder. Ctrl-C ends it.",
            rich_help_panel=_RUN,
        ),
    ] = False,
    interval: Annotated[
        float, typer.Option(min=0.1, help="With --watch: seconds between two looks.", rich_help_panel=_RUN)
    ] = 10.0,
    runtime: Runtime = "auto",
    precision: Precision = "fp32",
    device: Device = "auto",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Threads that decode photos; if left out, one a core, or with torch one for three cores.",
            rich_help_panel=SPEED,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Threads that the networks run on; if left out, one a core, or with torch those that decoders leave.",
            rich_help_panel=SPEED,
        ),
    ] = None,
    batch_size: Annotated[
        int,
        typer.Option(
            min=1,
            help="Photos answered at once. Three times as many are in memory, 0.6 MB each at 224 pixels.",
            rich_help_panel=SPEED,
        ),
    ] = 64,
    max_memory: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="MB",
            help="Megabytes that the networks may take: Experts not asked lately make room. No limit if left out.",
            rich_help_panel=SPEED,
        ),
    ] = None,
    routing: Routing = "hard",
    top_k: TopK = None,
    candidates: Annotated[
        int,
        typer.Option(
            min=0,
            max=64,
            help="Places that each row names, with their probabilities, as JSON in the column `candidates`.",
            rich_help_panel=_MORE,
        ),
    ] = 0,
    gallery: UseGallery = False,
    views: Views = 1,
    min_confidence: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Abstain where the probability that the truth is within 750 km is less: the row says so in "
            "`abstained` and keeps its place. Needs `geomind calibrate`.",
            show_default=False,
            rich_help_panel=_SURE,
        ),
    ] = None,
    max_radius_km: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="KM",
            help="Abstain where the radius that holds nine truths of ten is larger, km. Needs `geomind calibrate`.",
            show_default=False,
            rich_help_panel=_SURE,
        ),
    ] = None,
    map_page: Annotated[
        Path | None,
        typer.Option(
            "--map",
            metavar="FILE.html",
            help="A map of the answers, one HTML page that needs no network.",
            show_default=False,
            rich_help_panel=_MORE,
        ),
    ] = None,
    write_exif: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Copies of the photos in this folder, with their places as EXIF GPS, marked as estimates.",
            show_default=False,
            rich_help_panel=_MORE,
        ),
    ] = None,
    xmp: Annotated[
        bool,
        typer.Option(
            "--xmp",
            help="XMP sidecars beside the photos, which stay as they are. `geomind convert` can do more, and later.",
            rich_help_panel=_MORE,
        ),
    ] = False,
    engine_name: Annotated[
        Literal["local", "ray"],
        typer.Option(
            "--engine",
            help="Who does the work: this machine, or a Ray cluster, whose output is a folder NAME.parquet.",
            rich_help_panel=_MANY,
        ),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="With --engine ray: the cluster; if left out, this machine's, or a new one of this machine alone.",
            show_default=False,
            rich_help_panel=_MANY,
        ),
    ] = None,
) -> None:
    """Tell where photos were taken: a row with latitude, longitude and a Google Maps link for each."""
    from geomind.cli.progress import bars
    from geomind.devices import cores, pick_device_name
    from geomind.files import refuse_existing
    from geomind.geolocators import Answering, calibration_of, checksums, load_geolocator
    from geomind.inference import engine
    from geomind.predictions import refuse_output
    from geomind.runtimes import pick_runtime, share_cores

    photos = _photos(images_dir, photo_list)
    how = Answering(
        runtime=runtime,
        precision=precision,
        device=device,
        threads=threads,
        max_memory_mb=max_memory,
        top_k=top_k_of(routing, top_k),
        candidates=candidates,
        gallery=gallery,
        views=views,
        min_confidence=min_confidence,
        max_radius_km=max_radius_km,
    )
    calibration, no_radii = calibration_of(models, how)
    said = [f"No radii: {no_radii}."] if calibration is None else []
    made_with = {"set of weights": checksums(models, gallery=gallery)}
    made_with |= {option: str(getattr(how, name)) for name, option in _DECIDING.items()}
    if engine_name == "ray":
        if watch or format not in (None, "parquet") or map_page is not None or write_exif is not None or xmp:
            raise ConfigError("--engine ray writes Parquet and nothing else. `geomind convert` makes the rest of it.")
        from geomind.inference.cluster import infer_on_ray

        done = infer_on_ray(
            photos,
            output,
            models,
            how,
            address=address,
            batch_size=batch_size,
            workers=workers,
            resume=resume,
            overwrite=overwrite,
            made_with=made_with,
            progress=bars(),
        )
        _tell(done, said)
        return
    if address is not None:
        raise ConfigError("--address is where a Ray cluster is. Add --engine ray.")
    if watch:
        more = format not in (None, "csv") or map_page is not None or write_exif is not None or xmp
        _refuse_with_watch(images_dir, resume=resume, overwrite=overwrite, more=more)
    else:  # before the weights are read
        refuse_output(output, overwrite=overwrite, format=format)
        if map_page is not None:
            refuse_existing(map_page, overwrite=overwrite)
    where = pick_device_name(device)
    workers, threads = share_cores(pick_runtime(runtime, precision, where), where, cores(), workers, threads)
    geolocator = load_geolocator(models, replace(how, threads=threads))
    if watch and images_dir is not None:
        _watch(images_dir, output, geolocator, batch_size, workers, interval, said)
        return
    done = engine.infer(
        photos,
        output,
        geolocator,
        batch_size=batch_size,
        workers=workers,
        resume=resume,
        overwrite=overwrite,
        format=format,
        made_with=made_with,
        also=_what_else(photos, map_page, write_exif, xmp, overwrite, said),
        progress=bars(),
    )
    _tell(done, said)


_DECIDING = {
    "runtime": "--runtime",
    "precision": "--precision",
    "device": "--device",
    "top_k": "--routing or --top-k",
    "candidates": "--candidates",
    "gallery": "--gallery",
    "views": "--views",
    "min_confidence": "--min-confidence",
    "max_radius_km": "--max-radius-km",
}
"""What decides the answers, beside the weights: an inference that was begun with other values is not gone on with."""


def _tell(done: Inference, said: Sequence[str] = ()) -> None:
    print(f"{done.photos:,} photos: {done.located:,} located, {done.failed:,} could not be read.")
    if done.fallbacks:
        print(f"{done.fallbacks:,} of them got their region's median place, for want of an Expert; `error` says so.")
    if done.abstained:
        print(f"{done.abstained:,} abstain, less sure than was asked for; `abstained` says why, and their places stay.")
    for line in said:
        print(line)
    print(f"Rows: {done.output}")


def _photos(images_dir: Path | None, photo_list: Path | None) -> Photos:
    from geomind.inference.photo_list import FolderOfPhotos, ListOfPhotos

    if images_dir is not None and photo_list is None:
        return FolderOfPhotos(images_dir)
    if photo_list is not None and images_dir is None:
        return ListOfPhotos(photo_list)
    raise ConfigError("Name the photos: either a folder with --images-dir, or a list with --list.")


def _refuse_with_watch(images_dir: Path | None, *, resume: bool, overwrite: bool, more: bool) -> None:
    if images_dir is None:
        raise ConfigError("--watch looks at a folder: name it with --images-dir.")
    if resume or overwrite:
        raise ConfigError("--watch appends to what is there, so it takes neither --resume nor --overwrite.")
    if more:
        raise ConfigError("--watch writes a CSV and nothing else. `geomind convert` makes the rest of it.")


def _watch(
    images_dir: Path,
    output: Path,
    geolocator: Geolocator,
    batch_size: int,
    workers: int | None,
    interval: float,
    said: Sequence[str],
) -> None:
    from geomind.inference.watch import watch

    print(f"Watching {images_dir}; rows go to {output}. Ctrl-C ends it.", *said, sep="\n", flush=True)
    try:
        watch(
            images_dir,
            output,
            geolocator,
            batch_size=batch_size,
            workers=workers,
            interval=interval,
            tell=lambda new, total: print(f"{new:,} new photos; {total:,} rows.", flush=True),
        )
    except KeyboardInterrupt:
        print(f"Stopped. Rows: {output}")


def _what_else(
    photos: Photos, map_page: Path | None, write_exif: Path | None, xmp: bool, overwrite: bool, said: list[str]
) -> list[Callable[[Iterator[Prediction]], None]]:
    """Give what becomes of the rows beside the output; each puts what it did into ``said``."""
    from geomind.cli.progress import bars

    def draw_map(rows: Iterator[Prediction]) -> None:
        from geomind.outputs.web_map import write_map

        assert map_page is not None
        write_map(rows, map_page, overwrite=overwrite)
        said.append(f"Map: {map_page}")

    def write_back_as(way: Way, copies_dir: Path | None) -> Callable[[Iterator[Prediction]], None]:
        def write(rows: Iterator[Prediction]) -> None:
            from geomind.outputs.write_back import write_back

            done = write_back(rows, photos.path(""), way, copies_dir=copies_dir, overwrite=overwrite, progress=bars())
            said.append(f"Written back: {done.exif:,} into EXIF, {done.sidecars:,} into sidecars.")
            said.extend(f"  {count:,} left alone: {reason}." for reason, count in done.left_alone.items())

        return write

    return [
        *([draw_map] if map_page is not None else []),
        *([write_back_as("copies", write_exif)] if write_exif is not None else []),
        *([write_back_as("sidecars", None)] if xmp else []),
    ]
