"""The curves of one training as a picture. It reads no files and knows no networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from geomind.files import atomic_path


def draw_curves(epochs: Sequence[Mapping[str, float]], path: Path | str, *, title: str) -> None:
    """Draw loss, validation metrics and learning rate over epochs as a PNG.

    Args:
        epochs: One mapping an epoch: `epoch`, `train_loss`, `val_loss`, any other `val_…`, `learning_rate`.
        path: The picture.
        title: Its headline.

    Raises:
        OutputError: the picture cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not epochs:
        return
    scores = [name for name in epochs[0] if name.startswith("val_") and name != "val_loss"]
    panels = [("loss", ["train_loss", "val_loss"]), *((name, [name]) for name in scores), ("", ["learning_rate"])]
    figure = Figure(figsize=(4.2 * len(panels), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11)
    numbers = [epoch["epoch"] for epoch in epochs]
    best = min(epochs, key=lambda epoch: epoch["val_loss"])
    for axes, (label, names) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name in names:
            values = [epoch.get(name, float("nan")) for epoch in epochs]
            axes.plot(numbers, values, marker="o", markersize=3, label=name.replace("_", " "))
        axes.axvline(best["epoch"], color="0.8", linewidth=1, zorder=0, label="best val loss")
        axes.set_xlabel("epoch")
        axes.set_ylabel(label.removeprefix("val_").replace("_", " "))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(frameon=False, fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
