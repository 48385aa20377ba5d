"""Matching predictions to the truth by path, whatever folders the two are relative to."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from geomind.errors import ManifestError
from geomind.evaluation.matching import match_photos

TRUTH = ["train/a/1.jpg", "test/a/1.jpg", "test/a/2.jpg", "test/b/1.jpg"]
HOME = Path("/data/world")


def match(predicted, truth=TRUTH, home=HOME, **options):
    return match_photos(predicted, truth, truth_folder=home, **options).tolist()


@pytest.mark.parametrize(
    "predicted",
    [
        TRUTH,
        [f"/data/world/{path}" for path in TRUTH],
        [f"./{path}" for path in TRUTH],
        [f"world/{path}" for path in TRUTH],
        [f"/elsewhere/on/another/machine/{path}" for path in TRUTH],
    ],
)
def test_all_photos_from_any_folder(predicted):
    assert match(predicted) == [0, 1, 2, 3]


def test_the_order_of_the_predictions_does_not_matter():
    for order in itertools.permutations(range(4)):
        assert match([TRUTH[i] for i in order]) == [order.index(i) for i in range(4)]


def test_photos_of_one_folder_are_told_from_namesakes_in_another():
    """Both folders have a/1.jpg; only test has all that was predicted."""
    assert match(["b/1.jpg", "a/1.jpg", "a/2.jpg", "new.jpg"]) == [-1, 1, 2, 0]


def test_an_absolute_manifest_and_relative_predictions():
    truth = [f"/mnt/photos/{path}" for path in TRUTH]
    assert match(["test/a/2.jpg", "test/b/1.jpg"], truth) == [-1, -1, 0, 1]


def test_the_same_relative_path_is_preferred():
    assert match(["1.jpg"], ["1.jpg", "a/1.jpg"]) == [0, -1]


def test_a_name_that_two_folders_share_is_not_guessed():
    with pytest.raises(ManifestError, match=r"/data/world/te.*--images-dir") as caught:
        match(["1.jpg"], ["test/1.jpg", "train/1.jpg"])
    assert "/data/world/train" in str(caught.value)


def test_a_photo_missing_from_its_own_folder_does_not_turn_the_vote():
    """One rejected row made another folder, with one name more, the winner."""
    truth = [f"test/{i}.jpg" for i in range(99)] + [f"train/{i}.jpg" for i in range(100)]
    predicted = [f"{i}.jpg" for i in range(100)]
    with pytest.raises(ManifestError, match="--images-dir"):
        match(predicted, truth)
    assert match(predicted, truth, images_dir=HOME / "test") == [*range(99), *[-1] * 100]


def test_nothing_in_common():
    with pytest.raises(ManifestError, match=r"predictions name 'x/9\.jpg', the truth 'train/a/1\.jpg'"):
        match(["x/9.jpg"])
    with pytest.raises(ManifestError, match="No prediction is of a photo"):
        match([])
    with pytest.raises(ManifestError, match="No prediction is of a photo"):
        match(["1.jpg"], images_dir=Path("/nowhere"))


def test_other_photos_of_the_same_name_in_a_folder_of_another_name_do_not_match():
    with pytest.raises(ManifestError, match="No prediction is of a photo"):
        match(["validation/a/1.jpg", "validation/a/2.jpg"])


def test_a_photo_predicted_twice():
    with pytest.raises(ManifestError, match=r"two rows for .*train/a/1\.jpg"):
        match(["train/a/1.jpg", "./train/a/1.jpg"])


def test_links_lead_to_the_same_photo(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    predicted = [str(tmp_path / "link" / "1.jpg")]
    assert match(predicted, ["real/1.jpg"], home=tmp_path) == [0]


def test_many_photos_are_matched_quickly():
    """Every folder holds the same 300 names."""
    truth = [f"{folder}/{i}.jpg" for folder in range(100) for i in range(300)]
    assert match(truth[::-1], truth) == list(range(len(truth)))[::-1]


def test_numbers_for_names_are_matched_without_endings():
    truth = ["im2gps3k/123_4.jpg", "im2gps3k/124.JPG", "im2gps3k/v1.5.png"]
    assert match(["124", "v1.5", "123_4"], truth) == [2, 0, 1]
    assert match(["im2gps3k/124"], truth) == [-1, 0, -1]
    with pytest.raises(ManifestError, match="No prediction is of a photo"):
        match(["124.png"], truth)


def test_photos_that_differ_by_their_ending_alone():
    with pytest.raises(ManifestError, match=r"two of the name a/1\. Write the endings"):
        match(["a/1"], ["a/1.jpg", "a/1.png"])
    assert match(["a/1.png"], ["a/1.jpg", "a/1.png"]) == [-1, 0]
