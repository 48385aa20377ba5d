"""Which prediction belongs to which photo of the truth, by their paths. It opens no photo.

Predictions name photos relative to the folder that was answered, a manifest relative to itself, and either may be
absolute or come from another machine. So the two differ by one leading folder, the same for all rows; it is found by
counting, and where two folders are as good the user has to say which. Predictions whose photos have numbers for names
are matched without endings.
"""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from geomind.errors import ManifestError
from geomind.photos import IMAGE_SUFFIXES

SAMPLE = 2000
"""Predictions that are counted to find the folder."""

_Parts = tuple[str, ...]


def match_photos(
    predicted: Sequence[str], truth: Sequence[str], *, truth_folder: Path, images_dir: Path | None = None
) -> NDArray[np.int64]:
    """Find the prediction of each photo of the truth: (len(truth),) indices into ``predicted``, -1 where there is none.

    Args:
        predicted: paths of the predictions, absolute or relative to one unknown folder.
        truth: paths of the truth, absolute or relative to ``truth_folder``.
        truth_folder: the manifest's folder.
        images_dir: the folder that predictions are relative to, where the user says so.

    Raises:
        ManifestError: nothing matches, two folders match equally well, or a photo was predicted twice.
    """
    if predicted and not any(_has_ending(path) for path in predicted):
        truth = _without_endings(truth)
    if images_dir is not None:
        predicted = [str(images_dir / path) for path in predicted]
    absolute = [_resolved(path) if Path(path).is_absolute() or images_dir else "" for path in predicted]
    rows = _look_up(absolute, [_resolved(truth_folder / path) for path in truth])
    if (rows >= 0).any():
        return rows
    written = [Path(path).parts for path in truth]
    placed = [Path(os.path.abspath(truth_folder / path)).parts for path in truth]  # noqa: PTH100  keeps links as written
    answered = [Path(path).parts for path in predicted]
    home = Path(os.path.abspath(truth_folder)).parts  # noqa: PTH100
    if images_dir is None and (lead := _leading_folder(answered, written, placed, home)):
        before_truth, before_predicted = lead
        if before_predicted:
            cut = len(before_predicted)
            stripped = [parts[cut:] if parts[:cut] == before_predicted else () for parts in answered]
            return _look_up([_joined(parts) for parts in stripped], [_joined(parts) for parts in written])
        return _look_up([_joined(before_truth + parts) for parts in answered], [_joined(parts) for parts in placed])
    raise ManifestError(
        f"No prediction is of a photo of the truth: predictions name '{next(iter(predicted), '')}', "
        f"the truth '{next(iter(truth), '')}'. Give the folder that was answered with --images-dir."
    )


def _has_ending(path: str) -> bool:
    return PurePath(path).suffix.lower() in IMAGE_SUFFIXES


def _without_endings(truth: Sequence[str]) -> list[str]:
    """Name photos as tables do that have numbers for names.

    Raises:
        ManifestError: two photos differ by nothing else.
    """
    names = [str(PurePath(path).with_suffix("")) if _has_ending(path) else path for path in truth]
    if len(set(names)) < len(names):
        (twice, _), *_ = Counter(names).most_common(1)
        raise ManifestError(
            f"The predictions name photos without their ending, and the truth has two of the name {twice}. Write the "
            "endings into the predictions."
        )
    return names


def _leading_folder(
    answered: Sequence[_Parts], written: Sequence[_Parts], placed: Sequence[_Parts], home: _Parts
) -> tuple[_Parts, _Parts] | None:
    """Find what stands before every prediction in the truth's absolute paths, or before the truth in the predictions.

    Raises:
        ManifestError: two folders match about equally well.
    """
    by_name: dict[str, list[int]] = {}
    for i, parts in enumerate(written):
        by_name.setdefault(parts[-1] if parts else "", []).append(i)
    votes: Counter[tuple[_Parts, _Parts]] = Counter()
    for parts in answered[:: max(1, len(answered) // SAMPLE)]:
        for i in by_name.get(parts[-1] if parts else "", ()):
            if placed[i][-len(parts) :] == parts:
                votes[placed[i][: -len(parts)], ()] += 1
            elif parts[-len(written[i]) :] == written[i]:
                votes[(), parts[: -len(written[i])]] += 1
    if not votes:
        return None
    (best, most), *others = votes.most_common(2)
    if votes[home, ()] == most:  # the same relative paths in both tables
        return home, ()
    if others and others[0][1] * 2 > most:
        folders = [
            PurePath(*(before_truth or before_predicted)) for before_truth, before_predicted in (best, others[0][0])
        ]
        raise ManifestError(
            f"The predictions may be of the photos in {folders[0]} or in {folders[1]}: the same names are in both. "
            "Give the folder that was answered with --images-dir."
        )
    return best


def _joined(parts: Sequence[str]) -> str:
    return "/".join(parts).replace("//", "/", 1)  # the first part of an absolute path is its "/"


def _look_up(predicted: Sequence[str], truth: Sequence[str]) -> NDArray[np.int64]:
    index: dict[str, int] = {}
    for i, key in enumerate(predicted):
        if key and index.setdefault(key, i) != i:
            raise ManifestError(f"The predictions have two rows for {key}. Keep one.")
    return np.array([index.get(key, -1) for key in truth], dtype=np.int64)


def _resolved(path: Path | str) -> str:
    """Make a path absolute, following the links of its folder (one look at the disk a folder, none a photo)."""
    path = Path(path)
    return str(_resolved_folder(path.parent) / path.name)


@functools.lru_cache(maxsize=65536)
def _resolved_folder(folder: Path) -> Path:
    return folder.resolve()
