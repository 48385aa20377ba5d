from __future__ import annotations

import csv
import errno
import hashlib
import io
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from local_server import Asked, LocalServer, Reply, StopAfter
from PIL import Image
from typer.testing import CliRunner

from geomind.cli import app
from geomind.data import download
from geomind.data.download import DownloadSummary, download_photos
from geomind.data.http import Manners
from geomind.errors import DownloadError, ManifestError, OutputError
from geomind.photos import open_photo

FAST = Manners(per_second=10_000, tries=3, backoff_s=0.001, longest_wait_s=2, timeout_s=0.4, deadline_s=0.6)


def jpeg(seed: int = 0, side: int = 48) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def photo(seed: int = 0, **headers: str) -> Reply:
    return Reply(body=jpeg(seed), headers={"Content-Type": "image/jpeg", **headers})


def table(folder: Path, *rows: dict[str, str], name: str = "photos.csv") -> Path:
    path = folder / name
    frame = pd.DataFrame(rows)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


def report(summary: DownloadSummary) -> list[dict[str, str]]:
    with summary.report_path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def counts(summary: DownloadSummary) -> dict[str, int]:
    found = {name: getattr(summary, name) for name in download.OUTCOMES}
    assert sum(found.values()) == summary.rows
    assert sum(summary.reasons.values()) == len(report(summary)) == summary.rows - summary.fetched - summary.present
    return {name: count for name, count in found.items() if count}


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_photos_come_to_where_their_paths_say_and_only_once(server: LocalServer, tmp_path: Path) -> None:
    rows = []
    for n in range(40):
        server.replies[f"/{n}.jpg"] = photo(n)
        rows.append({"image_path": f"flickr/{n % 3}/{n}.jpg", "url": server.url(f"/{n}.jpg")})
    path = table(tmp_path, *rows)
    assert counts(download_photos(path, manners=FAST)) == {"fetched": 40}
    assert len(server.asked) == 40
    for n in range(40):
        assert (tmp_path / f"flickr/{n % 3}/{n}.jpg").read_bytes() == jpeg(n)
    assert len(files(tmp_path)) == 42  # with the table and the report

    assert counts(download_photos(path, manners=FAST)) == {"present": 40}
    assert len(server.asked) == 40


def test_every_row_is_accounted_for_with_its_reason(server: LocalServer, tmp_path: Path) -> None:
    whole = jpeg()
    removed = server.url("/pw/images/en-us/photo_unavailable_l.png")
    server.replies |= {
        "/good.jpg": photo(),
        "/gone.jpg": Reply(410),
        "/removed.jpg": Reply(302, headers={"Location": removed}),
        "/pw/images/en-us/photo_unavailable_l.png": Reply(body=whole, headers={"Content-Type": "image/png"}),
        "/page.jpg": Reply(body=b"<html>Sign in</html>", headers={"Content-Type": "text/html; charset=utf-8"}),
        "/cut.jpg": Reply(body=whole[:200], headers={"Content-Length": "5000", "Content-Type": "image/jpeg"}),
        "/half.jpg": Reply(body=whole[: len(whole) // 2], headers={"Content-Type": "image/jpeg"}),
        "/huge.jpg": Reply(body=b"x" * 200_000, headers={"Content-Type": "image/jpeg"}),
        "/noise.jpg": Reply(body=b"no picture", headers={"Content-Type": "image/jpeg"}),
        "/empty.jpg": Reply(headers={"Content-Type": "image/jpeg"}),
        "/busy.jpg": [Reply(429, headers={"Retry-After": "1"}), photo(1)],
        "/store.jpg": photo(2, **{"Content-Type": "binary/octet-stream"}),
        "/down.jpg": Reply(503),
        "/private.jpg": Reply(403),
        "/slow.jpg": Reply(pieces=(whole[:10],) * 30, pause_s=0.1, headers={"Content-Type": "image/jpeg"}),
    }
    expected = {
        "good": ("", ""),
        "missing": ("dead", "not there any more (404)"),
        "gone": ("dead", "not there any more (410)"),
        "removed": ("dead", "removed from Flickr"),
        "page": ("failed", "not an image: text/html"),
        "cut": ("failed", "connection lost"),
        "half": ("failed", "cannot decode: image file is truncated"),
        "huge": ("failed", "too large: more than 100,000 bytes"),
        "noise": ("failed", "not an image, or broken at its beginning"),
        "empty": ("failed", "empty file"),
        "busy": ("", ""),
        "store": ("", ""),
        "down": ("failed", "site in trouble (503)"),
        "private": ("failed", "refused (403)"),
        "slow": ("failed", "too slow"),
    }
    path = table(tmp_path, *({"path": f"{name}.jpg", "URL": server.url(f"/{name}.jpg")} for name in expected))
    done = download_photos(path, max_bytes=100_000, manners=FAST, workers=4)
    assert counts(done) == {"fetched": 3, "dead": 3, "failed": 9}
    bad = [(name, *what) for name, what in expected.items() if what[0]]
    for row, (name, outcome, reason) in zip(report(done), bad, strict=True):
        assert (row["image_path"], row["outcome"]) == (f"{name}.jpg", outcome)
        assert row["reason"].startswith(reason)
        assert row["url"] == server.url(f"/{name}.jpg")
        assert int(row["line"]) == list(expected).index(name) + 2
    assert files(tmp_path) == ["busy.jpg", "good.jpg", "photos.csv", "photos.download.csv", "store.jpg"]
    assert server.paths().count("/missing.jpg") == server.paths().count("/private.jpg") == 1
    assert server.paths().count("/down.jpg") == server.paths().count("/cut.jpg") == FAST.tries


def test_the_picture_that_says_removed_is_known_by_its_bytes(
    server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = jpeg(7)
    monkeypatch.setattr(download, "_REMOVED_PICTURE", (len(body), hashlib.md5(body).hexdigest()))
    server.replies |= {"/a.jpg": photo(7), "/b.jpg": photo(8)}
    done = download_photos(
        table(tmp_path, *({"path": f"{name}.jpg", "url": server.url(f"/{name}.jpg")} for name in "ab")), manners=FAST
    )
    assert counts(done) == {"fetched": 1, "dead": 1}
    assert not (tmp_path / "a.jpg").exists()


def test_what_is_dead_is_not_asked_for_again_while_the_report_says_so(server: LocalServer, tmp_path: Path) -> None:
    server.replies |= {"/a.jpg": photo(), "/down.jpg": Reply(503)}
    rows = [{"path": f"{name}.jpg", "url": server.url(f"/{name}.jpg")} for name in ("a", "dead", "down")]
    path = table(tmp_path, *rows)
    assert counts(download_photos(path, manners=FAST)) == {"fetched": 1, "dead": 1, "failed": 1}
    server.asked.clear()
    server.replies["/down.jpg"] = photo(3)
    done = download_photos(path, manners=FAST)
    assert counts(done) == {"present": 1, "fetched": 1, "dead": 1}
    assert server.paths() == ["/down.jpg"]
    assert [row["reason"] for row in report(done)] == ["not there any more (404)"]
    done.report_path.unlink()
    server.replies["/dead.jpg"] = photo(4)
    assert counts(download_photos(path, manners=FAST)) == {"present": 2, "fetched": 1}


@pytest.mark.parametrize(
    "content", [b"mine\n1\n", b"", b"\xff\xfe", b'"image_path","line","url","outcome","reason"\n"\xff']
)
def test_somebody_elses_file_of_the_reports_name_is_kept(server: LocalServer, tmp_path: Path, content: bytes) -> None:
    server.replies["/a.jpg"] = photo()
    path = table(tmp_path, {"path": "a.jpg", "url": server.url("/a.jpg")})
    (tmp_path / "photos.download.csv").write_bytes(content)
    with pytest.raises(OutputError, match="is no report of an earlier download"):
        download_photos(path, manners=FAST)
    assert (tmp_path / "photos.download.csv").read_bytes() == content
    assert not server.asked


def test_a_stopped_run_goes_on_where_it_stopped(server: LocalServer, tmp_path: Path) -> None:
    rows = []
    for n in range(60):
        server.replies[f"/{n}.jpg"] = photo(n) if n % 5 else Reply(404)
        rows.append({"path": f"{n}.jpg", "url": server.url(f"/{n}.jpg")})
    path = table(tmp_path, *rows)
    for stop in (30, 10):  # the second stops before it has met all that the first found dead
        with pytest.raises(KeyboardInterrupt):
            download_photos(path, workers=2, manners=FAST, progress=StopAfter(stop))
    there = {name for name in files(tmp_path) if name.endswith(".jpg")}
    assert len(there) >= 24
    assert not [name for name in files(tmp_path) if "partial" in name]
    asked = server.paths()
    server.asked.clear()
    assert counts(download_photos(path, workers=2, manners=FAST)) == {
        "fetched": 48 - len(there), "present": len(there), "dead": 12,
    }  # fmt: skip
    found_dead = [n for n in range(0, 30, 5) if f"/{n}.jpg" in asked]
    assert len(found_dead) >= 5
    assert not {f"/{n}.jpg" for n in found_dead} & set(server.paths())
    assert not {f"/{name}" for name in there} & set(server.paths())


def test_a_broken_file_of_somebody_else_is_replaced(server: LocalServer, tmp_path: Path) -> None:
    server.replies["/a.jpg"] = photo()
    (tmp_path / "a.jpg").write_bytes(jpeg()[:300])
    assert counts(download_photos(table(tmp_path, {"path": "a.jpg", "url": server.url("/a.jpg")}), manners=FAST)) == {
        "fetched": 1
    }
    assert open_photo(tmp_path / "a.jpg").size == (48, 48)


def test_two_rows_of_one_file_fetch_it_once(server: LocalServer, tmp_path: Path) -> None:
    server.replies["/a.jpg"] = photo()
    row = {"path": "a.jpg", "url": server.url("/a.jpg")}
    assert counts(download_photos(table(tmp_path, row, row | {"path": "x/../a.jpg"}, row), manners=FAST)) == {
        "fetched": 1, "present": 2,
    }  # fmt: skip
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("image_path", "reason"),
    [
        ("../outside.jpg", "path leads out of the folder of photos"),
        ("/tmp/outside.jpg", "path leads out of the folder of photos"),
        ("a/../../outside.jpg", "path leads out of the folder of photos"),
        (".", "path leads out of the folder of photos"),
        ("", "no path"),
        ("notes.txt", "path has no image's ending: '.txt'"),
        ("x" * 300 + ".jpg", "path cannot be written"),
    ],
)
def test_a_table_cannot_write_anywhere_else(server: LocalServer, tmp_path: Path, image_path: str, reason: str) -> None:
    """A table may come from anybody, and its paths decide where files are written."""
    server.replies["/a.jpg"] = photo()
    folder = tmp_path / "deep"
    folder.mkdir()
    good = {"image_path": "good.jpg", "url": server.url("/a.jpg")}
    done = download_photos(table(folder, good, good | {"image_path": image_path}), manners=FAST)
    assert [(row["outcome"], row["reason"]) for row in report(done)] == [("failed", reason)]
    assert files(tmp_path) == ["deep/good.jpg", "deep/photos.csv", "deep/photos.download.csv"]


def test_another_folder_of_photos(server: LocalServer, tmp_path: Path) -> None:
    server.replies["/a.jpg"] = photo()
    folder = tmp_path / "disk"
    rows = [
        {"image_path": "a/1.jpg", "url": server.url("/a.jpg")},
        {"image_path": str(folder / "b/2.jpg"), "url": server.url("/a.jpg")},
        {"image_path": str(tmp_path / "3.jpg"), "url": server.url("/a.jpg")},
    ]
    assert counts(download_photos(table(tmp_path, *rows), images_dir=folder, manners=FAST)) == {
        "fetched": 2, "failed": 1,
    }  # fmt: skip
    assert files(folder) == ["a/1.jpg", "b/2.jpg"]


@pytest.mark.parametrize("name", ["photos.parquet", "photos.tsv"])
def test_other_forms_of_tables(server: LocalServer, tmp_path: Path, name: str) -> None:
    server.replies["/a.jpg"] = photo()
    rows = [{"filename": f"{n}.jpg", "Url": server.url("/a.jpg"), "License": "4"} for n in range(3)]
    done = download_photos(table(tmp_path, *rows, name=name), licenses=frozenset({"by"}), manners=FAST)
    assert counts(done) == {"fetched": 3}
    assert done.report_path.name == "photos.download.csv"


def test_licences_that_were_not_asked_for_are_refused(server: LocalServer, tmp_path: Path) -> None:
    server.replies["/a.jpg"] = photo()
    cells = ("http://creativecommons.org/licenses/by/2.0/", "9", "CC BY-NC 2.0", "3", "", "mine", "0")
    rows = [{"path": f"{n}.jpg", "url": server.url("/a.jpg"), "license": cell} for n, cell in enumerate(cells)]
    done = download_photos(table(tmp_path, *rows), licenses=frozenset({"by", "cc0"}), manners=FAST)
    assert counts(done) == {"fetched": 2, "refused": 5}
    assert [row["reason"].partition(": ")[2] for row in report(done)] == [
        "by-nc", "by-nc-nd", "unknown", "mine", "all-rights-reserved",
    ]  # fmt: skip
    assert done.reasons == {"licence not asked for": 5}
    assert len(server.asked) == 2
    assert counts(download_photos(table(tmp_path, *rows), manners=FAST)) == {"fetched": 5, "present": 2}


def test_photos_come_several_at_a_time_and_are_reported_in_order(server: LocalServer, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for n in range(40):
        pause_s = float(rng.uniform(0.01, 0.03))
        server.replies[f"/{n}.jpg"] = Reply(pieces=(b"no picture",), pause_s=pause_s, headers=photo().headers)
        rows.append({"path": f"{n}.jpg", "url": server.url(f"/{n}.jpg")})
    server.replies["/good.jpg"] = photo()
    rows.append({"path": "good.jpg", "url": server.url("/good.jpg")})
    done = download_photos(table(tmp_path, *rows), workers=3, manners=FAST)
    assert 1 < server.most_at_once <= 3
    assert [row["image_path"] for row in report(done)] == [f"{n}.jpg" for n in range(40)]


def test_nothing_at_all_is_an_error_that_says_why(server: LocalServer, tmp_path: Path) -> None:
    path = table(tmp_path, *({"path": f"{n}.jpg", "url": server.url(f"/{n}.jpg")} for n in range(3)))
    with pytest.raises(
        DownloadError, match=r"None of the 3 photos .* came: not there any more \(404\) \(3\).*report|csv"
    ):
        download_photos(path, manners=FAST)
    assert len((tmp_path / "photos.download.csv").read_text().splitlines()) == 4
    with pytest.raises(DownloadError, match="it has no row"):
        (tmp_path / "none.csv").write_text("path,url\n")
        download_photos(tmp_path / "none.csv", manners=FAST)


def test_a_site_that_is_down_does_not_hold_up_the_run(server: LocalServer, tmp_path: Path) -> None:
    server.replies["/good.jpg"] = photo()
    rows = [{"path": "good.jpg", "url": server.url("/good.jpg")}]
    for n in range(60):
        server.replies[f"/{n}.jpg"] = Reply(500)
        rows.append({"path": f"{n}.jpg", "url": server.url(f"/{n}.jpg")})
    done = download_photos(table(tmp_path, *rows), workers=1, manners=FAST)
    assert done.reasons == {
        "site in trouble (500)": 20, "127.0.0.1 was given up after 20 failures in a row": 40,
    }  # fmt: skip
    assert len(server.asked) == 1 + 20 * FAST.tries


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("path,address", "no column url: it has path, address"),
        ("name,url", "no column image_path or filename or path or file"),
        ("path,url,url", "'url' is there twice"),
    ],
)
def test_a_table_without_its_columns(tmp_path: Path, header: str, said: str) -> None:
    (tmp_path / "t.csv").write_text(f"{header}\n")
    with pytest.raises(ManifestError, match=said):
        download_photos(tmp_path / "t.csv")


def test_licences_without_a_column_of_them(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,url\na.jpg,http://127.0.0.1/\n")
    with pytest.raises(ManifestError, match="no column 'license' to choose by"):
        download_photos(tmp_path / "t.csv", licenses=frozenset({"by"}))


def test_a_path_that_cannot_be_written_fails_alone(server: LocalServer, tmp_path: Path) -> None:
    """A row c.jpg/e.jpg behind c.jpg ended every run with "file exists", so the rows behind it never came.

    So did 2,500 folders one in another, as too long a name, and fewer, as making them is recursive.
    """
    server.replies["/a.jpg"] = photo()
    (tmp_path / "f.jpg").mkdir()
    bad = (
        "c.jpg/e.jpg",
        "c.jpg/e/f.jpg",
        "f.jpg",
        "d/" * 2_500 + "a.jpg",
        "d/" * 1_500 + "a.jpg",
        "d" * 256 + "/a.jpg",
    )
    paths = ("c.jpg", *bad, "d/" * 150 + "deep.jpg", "z.jpg")
    rows = ({"path": each, "url": server.url("/a.jpg")} for each in paths)
    done = download_photos(table(tmp_path, *rows), workers=1, manners=FAST)
    assert counts(done) == {"fetched": 3, "failed": 6}
    assert [(row["image_path"], row["reason"]) for row in report(done)] == [(p, "path cannot be written") for p in bad]


def test_a_folder_of_photos_that_is_a_file_is_refused_before_anything_is_asked(
    server: LocalServer, tmp_path: Path
) -> None:
    """A path that cannot be written fails alone, and here each would, after it was asked for."""
    path = table(tmp_path, {"path": "a.jpg", "url": server.url("/a.jpg")})
    with pytest.raises(OutputError, match=r"photos\.csv is no folder.*--images-dir"):
        download_photos(path, images_dir=path, manners=FAST)
    assert not server.asked


def test_paths_that_lead_out_are_told_the_option_that_helps(server: LocalServer, tmp_path: Path) -> None:
    """A manifest of YFCC100M with its photos on another disk ended with "leads out" and no word what to do."""
    path = table(tmp_path, {"path": "/disk/photos/a.jpg", "url": server.url("/a.jpg")})
    with pytest.raises(DownloadError, match=r"leads out of the folder of photos \(1\).*with --images-dir"):
        download_photos(path, manners=FAST)


def test_no_spreadsheet_runs_the_report(server: LocalServer, tmp_path: Path) -> None:
    """A table's paths and addresses were copied into the report as they are, formulas too."""
    server.replies["/a.jpg"] = photo()
    good = {"path": "a.jpg", "url": server.url("/a.jpg")}
    path = table(
        tmp_path, good, {"path": "=1+1.jpg", "url": server.url("/gone.jpg")}, {"path": "b.jpg", "url": "=cmd|x"}
    )
    for _ in range(2):
        rows = report(download_photos(path, manners=FAST))
        assert [(row["image_path"], row["outcome"]) for row in rows] == [("'=1+1.jpg", "dead"), ("b.jpg", "failed")]
        assert rows[1]["url"] == "'=cmd|x"
    assert server.paths().count("/gone.jpg") == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_full_disk_ends_the_run(
    server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    server.replies["/a.jpg"] = photo()
    path = table(tmp_path, *({"path": f"a/{n}.jpg", "url": server.url("/a.jpg")} for n in range(50)))

    def cannot(self: Path, *_: object, **__: object) -> None:
        raise OSError(number, "the disk says no")

    with monkeypatch.context() as patch, pytest.raises(OutputError, match="the disk says no"):
        mkdir = Path.mkdir
        patch.setattr(Path, "mkdir", lambda self, *a, **k: (cannot if self.name == "a" else mkdir)(self, *a, **k))
        download_photos(path, manners=FAST)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPool")]


def test_the_command(server: LocalServer, tmp_path: Path) -> None:
    server.replies |= {"/a.jpg": photo(), "/b.jpg": photo(1)}
    rows = [
        {"path": "a.jpg", "url": server.url("/a.jpg"), "license": "4"},
        {"path": "b.jpg", "url": server.url("/b.jpg"), "license": "0"},
        {"path": "c.jpg", "url": server.url("/c.jpg"), "license": "4"},
    ]
    path = table(tmp_path, *rows)
    command = ["download", "photos", str(path), "--licenses", "cc0,by", "--rate", "1000", "--workers", "2"]
    said = CliRunner().invoke(app, command, catch_exceptions=False)
    assert said.exit_code == 0
    assert "3 rows = 1 fetched + 0 there already + 1 dead + 1 refused for their licence + 0 failed." in said.stdout
    assert "not there any more (404)" in said.stdout
    assert "photos.download.csv" in said.stdout.replace("\n", "")


def test_requests_say_who_asks(server: LocalServer, tmp_path: Path) -> None:
    def answer(asked: Asked) -> Reply:
        assert asked.headers["User-Agent"].startswith("geomind/")
        return photo()

    server.replies["/a.jpg"] = answer
    assert counts(download_photos(table(tmp_path, {"path": "a.jpg", "url": server.url("/a.jpg")}), manners=FAST)) == {
        "fetched": 1
    }
