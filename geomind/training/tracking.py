"""TensorBoard's event files, for whoever has geomind[track] and asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from geomind.errors import MissingExtraError


def require_tensorboard() -> Any:
    """Give TensorBoard's writer of event files.

    Raises:
        MissingExtraError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtraError(
            'TensorBoard is not installed: pip install "geomind[track]", or --set tensorboard=false.'
        ) from error
    return SummaryWriter


class Events:
    """Scalars over the batches of a training, as TensorBoard shows them; nothing at all where they are not wanted."""

    def __init__(self, folder: Path | str, *, wanted: bool, first: int = 0) -> None:
        """Open the event files.

        Args:
            folder: Where they are put.
            wanted: Whether there shall be any.
            first: The batch that comes next; later ones, written before a training was interrupted, are dropped.

        Raises:
            MissingExtraError: TensorBoard is wanted and not installed.
        """
        self._writer: Any = require_tensorboard()(str(folder), purge_step=first) if wanted else None

    def __enter__(self) -> Events:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, scalars: Mapping[str, float], batch: int) -> None:
        """Add values by name at a batch, counted over all epochs."""
        if self._writer is not None:
            for name, value in scalars.items():
                self._writer.add_scalar(name, value, batch)
