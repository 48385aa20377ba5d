"""What an inspection looks for, and what it found: the one table of checks. It knows not how they are made."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

EXAMPLES = 8
"""Photos that are named for each finding; a list of every photo's faults is ``geomind inspect --photos``."""

Verdict = Literal["passed", "warning", "problem", "skipped"]
"""A problem makes a manifest unfit to train on, a warning does not; what was not asked for is skipped."""


@dataclass(frozen=True)
class Check:
    """Something that may be wrong with a manifest."""

    title: str
    problem_above: float | None
    """The share of the photos that is tolerated; more is a problem. 0: a single one is; None: it is never more than a
    warning."""

    mend: str
    """What to do about it; ``Finding.mend`` fills in the commands."""


_AGAIN = "geomind prepare {manifest} --output prepared.csv{regions}"
_SPLIT = "geomind split {manifest} --overwrite"

CHECKS = {
    # ── files ──
    "unreadable_files": Check("Missing and unreadable files", 0, f"Leave them out: {_AGAIN}"),
    "tiny_files": Check("Pictures under 64 px", None, "Remove thumbnails and icons, or fetch the photos at full size."),
    "blank_files": Check("Blank pictures", None, "Look at them; an even surface says nothing about a place."),
    "duplicate_files": Check("The same file again", None, "Keep one row of each file."),
    "near_duplicates": Check(
        "Near-duplicates at one place", None, "Keep one of each, or give them one `group`, so that no split parts them."
    ),
    "same_picture_elsewhere": Check(
        "One picture at two places", None, "Look at them: a placeholder, or a photo of which one position is wrong."
    ),
    # ── coordinates ──
    "zero_coordinates": Check("Position 0, 0", 0, f"It stands for 'unknown'. Leave them out: {_AGAIN}"),
    "swapped_coordinates": Check("Latitude and longitude swapped", 0, "Swap the two columns of these rows."),
    "mirrored_coordinates": Check("Hemisphere lost", 0, "Give south and west their minus sign again."),
    "wrong_country": Check(
        "Country is not where the position is",
        0.01,
        f"Mend the position; if it is right, fill in the country: {_AGAIN}",
    ),
    "street_photos_at_sea": Check("Street-level photos at sea", 0.01, "Mend or remove them: no street is there."),
    "photos_at_sea": Check("Photos at sea", None, "Boats and islets are fine; a wrong position often lands here."),
    "country_centres": Check(
        "Position is a country's centre", None, "Look at them: a geocoder that knew only the country answers this."
    ),
    "repeated_coordinates": Check(
        "One position for very many photos", None, "Check whether it is measured or filled in; tie a burst by `group`."
    ),
    "coarse_coordinates": Check(
        "Position known to 11 km at best", None, "At most one decimal. Remove them if streets or cities matter."
    ),
    # ── regions ──
    "no_region": Check("Region missing or not in the table", 0, "Training refuses them. {fill_in}"),
    "wrong_region": Check("Region is not where the position is", 0.01, "{fill_in}"),
    "one_region": Check("All photos in one region", 0, "A Director needs photos of at least two regions to decide."),
    "empty_regions": Check("Regions without photos", None, "The Director will never answer them. Find photos there."),
    "small_regions": Check("Regions with few photos", None, "Find more photos there; their Experts learn little."),
    "imbalance": Check(
        "Imbalance of regions", None, "Balance by weights: --set balance=class_weights, or take fewer of the largest."
    ),
    "narrow_spread": Check("Most photos from few places", None, "Find photos elsewhere; a test on these flatters."),
    # ── splits ──
    "unsplit_photos": Check(
        "Photos without a split", None, "They are never used. `geomind split --gap-km` leaves photos so on purpose."
    ),
    "missing_split": Check(
        "No training or validation photos",
        0,
        "Training refuses that. Name some photos so in the column `split`, or split a copy: "
        "geomind split {manifest} --output split.csv",
    ),
    "leaking_groups": Check("Groups in two splits", 0, f"Split by place and group: {_SPLIT}"),
    "leaking_places": Check("Places in two splits", 0, f"Split by place: {_SPLIT}"),
    "leaking_files": Check("The same file in two splits", 0, "Keep one row of each file, or give them one `group`."),
    "leaking_near_duplicates": Check(
        "Near-duplicates in two splits", 0, f"Give them one `group` and split again: {_SPLIT}"
    ),
}
"""Key in the JSON -> check, in the order of a reader's interest."""


@dataclass(frozen=True, eq=False)
class Finding:
    """How one check went."""

    check: str
    """A key of ``CHECKS``."""
    verdict: Verdict
    count: int
    """How many photos, or regions, it is about."""
    detail: str
    """One sentence; "" where nothing was found."""
    rows: NDArray[np.int64]
    """The rows of the manifest that it is about; none where it is about regions."""
    notes: tuple[str, ...] = ()
    """What is to be said of the first rows, in their order; perhaps of fewer than there are."""
    advice: str = ""
    """What to do about it, where it is not what ``CHECKS`` says."""

    def mend(self, manifest: str, regions: str | None) -> str:
        """Say what to do about it.

        Args:
            manifest: Its path.
            regions: The file of its table of regions; None for GeoMind's.
        """
        if regions is None:
            fill_in = f"Name its table of regions by --regions; if it is GeoMind's, fill the regions in: {_AGAIN}"
        else:
            fill_in = "Fill it in: geomind regions assign {manifest}{regions} --overwrite"
        named = "" if regions is None else f" --regions {shlex.quote(regions)}"
        words = {"manifest": shlex.quote(manifest), "regions": named}
        template = self.advice or CHECKS[self.check].mend
        return template.format(**words, fill_in=fill_in.format(**words))

    @property
    def title(self) -> str:
        """What was looked for."""
        return CHECKS[self.check].title


def judge(
    check: str,
    rows: ArrayLike,
    *,
    of: int,
    what: str = "photos",
    detail: str = "",
    notes: Sequence[str] = (),
    skipped: bool = False,
) -> Finding:
    """Say how a check of photos went, by the share that it tolerates.

    Args:
        check: A key of ``CHECKS``.
        rows: The rows of the photos that were found, (k,).
        of: How many photos were checked.
        what: What kind of photos these are.
        detail: What was found, beside the count.
        notes: What is to be said of the first rows.
        skipped: It was not looked at.
    """
    rows = np.asarray(rows, dtype=np.int64)
    verdict: Verdict = "passed"
    if skipped:
        verdict = "skipped"
    elif len(rows):
        verdict = _weigh(check, len(rows) / of)
        detail = detail or f"{len(rows):,} of {of:,} {what} ({percent(len(rows) / of)})."
    return Finding(check, verdict, len(rows), detail if len(rows) else "", rows, tuple(notes))


def judge_whole(check: str, count: int, detail: str, *, advice: str = "", harmless: bool = False) -> Finding:
    """Say how a check of the manifest as a whole went: what it counts is no photos.

    Args:
        check: A key of ``CHECKS``.
        count: How many were found.
        detail: What was found.
        advice: What to do about it, where it is not what ``CHECKS`` says.
        harmless: It is at most a warning here.
    """
    verdict: Verdict = "passed"
    if count:
        verdict = "warning" if harmless else _weigh(check, 1.0)
    return Finding(check, verdict, count, detail if count else "", np.zeros(0, dtype=np.int64), advice=advice)


def percent(share: float) -> str:
    """Write a share so that a small one does not look like none."""
    return "under 0.1%" if 0 < share < 0.001 else f"{share:.1%}"


def counted(number: int, noun: str) -> str:
    """Write a number of things."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _weigh(check: str, share: float) -> Verdict:
    tolerated = CHECKS[check].problem_above
    return "problem" if tolerated is not None and share > tolerated else "warning"
