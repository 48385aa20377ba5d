"""The command line: parse, call one function, print. Heavy imports wait inside the commands, so that help is quick."""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import Annotated

import typer

from geomind import __version__
from geomind.cli import (
    bench,
    calibrate,
    compare,
    convert,
    data,
    demo,
    download,
    evaluate,
    explain,
    export,
    infer,
    inspect,
    regions,
    scrub,
    train,
)
from geomind.devices import keep_freed_memory, let_threads_sleep
from geomind.errors import GeoMindError

app = typer.Typer(
    name="geomind",
    help="Where was this photograph taken? A Director picks the region, that region's Expert the place.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

# In the order of the story: see it work, bring photos, train, calibrate, locate, judge.
app.command("demo", rich_help_panel="See it work")(demo.demo)
app.add_typer(download.app, name="download", rich_help_panel="Photos")
app.command("prepare", rich_help_panel="Photos")(data.prepare)
app.command("inspect", rich_help_panel="Photos")(inspect.inspect)
app.command("split", rich_help_panel="Photos")(data.split)
app.command("train-director", rich_help_panel="Training")(train.train_director)
app.command("train-expert", rich_help_panel="Training")(train.train_expert)
app.command("train-hierarchical", rich_help_panel="Training")(train.train_hierarchical)
app.command("calibrate", rich_help_panel="Training")(calibrate.calibrate)
app.command("infer", rich_help_panel="Places")(infer.infer)
app.command("export", rich_help_panel="Places")(export.export)
app.command("explain", rich_help_panel="Places")(explain.explain)
app.command("evaluate", rich_help_panel="Places")(evaluate.evaluate)
app.command("compare", rich_help_panel="Places")(compare.compare)
app.command("convert", rich_help_panel="Places")(convert.convert)
app.command("scrub", rich_help_panel="Photos")(scrub.scrub)
app.add_typer(regions.app, name="regions", rich_help_panel="Photos")
app.add_typer(bench.app, name="bench", rich_help_panel="This machine")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"geomind {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[  # noqa: ARG001 - its callback prints and stops
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more of what is going on.")] = False,
) -> None:
    """Take what every command takes."""
    _log_to_stderr(logging.INFO if verbose else logging.WARNING)


def main() -> None:
    """Run the command line; what GeoMind itself has to say is one line on stderr and exit code 1."""
    signal.signal(signal.SIGTERM, _terminate)
    let_threads_sleep()
    keep_freed_memory()
    try:
        app()
    except GeoMindError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        if error.filename is None:  # not about a path that somebody gave: a bug, which shows itself
            raise
        _fail(f"Cannot use {os.fsdecode(error.filename)}: {(error.strerror or str(error)).lower()}.")


def _terminate(*_: object) -> None:
    """Unwind, so that temporary files go, and exit as a process does that SIGTERM ended."""
    sys.exit(128 + signal.SIGTERM)


def _fail(reason: str) -> None:
    print("Error:", " ".join(reason.split()), file=sys.stderr)
    sys.exit(1)


def _log_to_stderr(level: int) -> None:
    from rich.logging import RichHandler

    from geomind.cli.progress import stderr

    handler = RichHandler(console=stderr, show_time=False, show_path=False, markup=False, highlighter=None)
    logger = logging.getLogger("geomind")
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False
