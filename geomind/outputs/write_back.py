"""Places written back: into the EXIF of copies, of the photos themselves, or into sidecars beside them.

A photo that has a position keeps it, and one whose place only stands in for a better one gets none. Whatever is
written is marked as an estimate, which ``photos.read_gps`` refuses to take for a truth.
"""

from __future__ import annotations

import collections
import os
import shutil
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from geomind.errors import GPSError, OutputError, PhotoError
from geomind.files import atomic_path, inside, make_folder
from geomind.outputs.exif import with_position
from geomind.outputs.xmp import SidecarNames, sidecar, sidecar_path
from geomind.photos import ESTIMATE, NO_GPS, read_gps, read_photo_bytes
from geomind.predictions import Prediction
from geomind.progress import SILENT, Progress

Way = Literal["copies", "in_place", "sidecars"]

_OUTSIDE = "its path leads out of the folder"


@dataclass(frozen=True)
class WrittenBack:
    """What a write-back did."""

    exif: int
    """Files that got a position into their EXIF."""
    sidecars: int
    """Sidecars written."""
    left_alone: Mapping[str, int]
    """Reason -> photos that got nothing."""


def write_back(
    predictions: Iterable[Prediction],
    images_dir: Path | str,
    way: Way,
    *,
    copies_dir: Path | str | None = None,
    sidecar_names: SidecarNames = "darktable",
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> WrittenBack:
    """Write the place of every prediction to its photo; one that cannot take it is left alone and counted.

    ``copies``: each photo is copied into ``copies_dir``, in the same subfolders, with the place in the copy's EXIF;
    a copy whose format cannot hold it has it in a sidecar. ``in_place``: the same, in the photo itself. ``sidecars``:
    no photo is written, only a sidecar beside it.

    Args:
        predictions: their paths are relative to ``images_dir``, as `geomind infer` writes them.
        images_dir: where the photos are.
        way: where the places go.
        copies_dir: where the copies go.
        sidecar_names: whose names the sidecars get.
        overwrite: replace copies that exist; sidecars never are.
        progress: shows photos done.

    Raises:
        OutputError: there is no such folder, it cannot be written, or ``copies_dir`` is the photos' own.
    """
    images_dir = Path(images_dir)
    if not images_dir.is_dir():
        raise OutputError(f"There is no folder {images_dir}. Name the folder of the photos with --images-dir.")
    if (way == "copies") != (copies_dir is not None):
        raise ValueError("copies need a folder to go to, and nothing else does")
    copies = None if copies_dir is None else make_folder(copies_dir).resolve()
    if copies is not None and copies.samefile(images_dir):
        raise OutputError(f"{copies_dir} is the folder of the photos. Choose another one for the copies.")
    written: collections.Counter[str] = collections.Counter()
    left_alone: collections.Counter[str] = collections.Counter()
    with progress.track("Writing places back", None) as advance:
        for prediction in predictions:
            try:
                photo = _photo(prediction, images_dir, must_be_inside=copies is None)
                if way == "sidecars":
                    written[_write_sidecar(prediction, photo, sidecar_names)] += 1
                else:
                    target = photo if copies is None else _copy_path(prediction, copies, overwrite=overwrite)
                    written[_write_exif(prediction, photo, target, sidecar_names)] += 1
            except PhotoError as error:
                left_alone[str(error)] += 1
            advance(1)
    return WrittenBack(written["exif"], written["sidecar"], dict(left_alone.most_common()))


def _photo(prediction: Prediction, images_dir: Path, *, must_be_inside: bool) -> Path:
    """Find the photo of a prediction that may get its place; a copy may be of a photo that a link leads to.

    Raises:
        PhotoError: it may not; the message is the reason.
    """
    if prediction.place is None:
        raise PhotoError("it has no place")
    if prediction.error is not None:
        raise PhotoError(f"its place stands in for a better one: {prediction.error}")
    if prediction.abstained is not None:
        raise PhotoError(f"it abstains: {prediction.abstained}")
    name = os.path.normpath(prediction.image_path)
    if Path(name).is_absolute() or Path(name).parts[0] == os.pardir:
        raise PhotoError(_OUTSIDE)
    path = _inside(images_dir, name) if must_be_inside else images_dir / name
    try:
        read_gps(path)
    except GPSError as error:
        if str(error) != NO_GPS:
            raise PhotoError(f"it keeps what it has: {error}") from error
        return path
    raise PhotoError("it has a position already")


def _inside(folder: Path, name: str) -> Path:
    path = inside(folder, name)
    if path is None:
        raise PhotoError(_OUTSIDE)
    return path


def _copy_path(prediction: Prediction, copies: Path, *, overwrite: bool) -> Path:
    target = _inside(copies, prediction.image_path)
    if target.exists() and not overwrite:
        raise PhotoError("its copy exists already; --overwrite replaces it")
    return target


def _write_exif(prediction: Prediction, photo: Path, target: Path, names: SidecarNames) -> Literal["exif", "sidecar"]:
    in_place = target == photo
    if in_place:
        _refuse_in_tar(photo)
        if not os.access(photo, os.W_OK):
            raise PhotoError("it is read-only")
    elif target.exists() and photo.exists() and target.samefile(photo):
        raise PhotoError("its copy would be the photo itself")
    content = read_photo_bytes(photo)
    try:
        _save(with_position(content, prediction), target, like=photo, reads_back=True)
    except PhotoError:
        _save_sidecar(prediction, sidecar_path(target, names))
        if not in_place:
            _save(content, target, like=photo)
        return "sidecar"
    return "exif"


def _write_sidecar(prediction: Prediction, photo: Path, names: SidecarNames) -> Literal["sidecar"]:
    _refuse_in_tar(photo)
    _save_sidecar(prediction, sidecar_path(photo, names))
    return "sidecar"


def _save_sidecar(prediction: Prediction, path: Path) -> None:
    content = sidecar(prediction).encode()
    # read_gps has seen what stands beside the photo: a sidecar without a position, of edits and keywords. Beside a copy
    # it may be ours, of a run that was stopped before the copy was there.
    if os.path.lexists(path):
        if path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content:
            return
        raise PhotoError("a sidecar stands there already; GeoMind changes none")
    _save(content, path)


def _refuse_in_tar(photo: Path) -> None:
    if not photo.is_file():
        raise PhotoError("it is in a tar, which is not written")


def _save(content: bytes, path: Path, like: Path | None = None, *, reads_back: bool = False) -> None:
    """Write a file whole or not at all, with the rights of another, and a copy with its times too.

    Raises:
        PhotoError: our estimate should read back from it and does not, because what was there is broken.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
        if reads_back:
            try:
                read_gps(temporary)
            except GPSError as error:
                if str(error) != ESTIMATE:
                    raise PhotoError("its EXIF is broken") from error
        if like is not None and like.is_file():
            (shutil.copymode if like == path else shutil.copystat)(like, temporary)
            temporary.chmod(temporary.stat().st_mode | stat.S_IWUSR)  # it is flushed, and edited later
