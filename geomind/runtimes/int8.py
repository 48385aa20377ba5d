"""Networks in whole numbers: static quantisation of an ONNX file by photos that it will see."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geomind.errors import MissingExtraError
from geomind.runtimes.onnx_files import write


def quantize(checkpoint: Path, fp32: Path, pixels: NDArray[np.float32]) -> Path:
    """Write the int8 file of a checkpoint beside it.

    Weights get a scale a channel, what flows between layers one scale a convolution, from the range that it had over
    the photos (static post-training quantisation, Jacob et al. 2018). Both are symmetric: with zero points OpenVINO
    took 13 ms a photo instead of 8.

    Args:
        checkpoint: The weights file.
        fp32: Its ONNX file.
        pixels: (N, 3, S, S) photos as it will see them.

    Raises:
        MissingExtraError: ONNX Runtime, whose tools do it, is not installed.
        OutputError: the file can be written nowhere.
    """
    try:
        import onnx
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    except ImportError as error:
        raise MissingExtraError(
            "Quantisation needs ONNX Runtime's tools, which are not installed: pip install 'geomind[onnx]'."
        ) from error

    class Photos(CalibrationDataReader):  # type: ignore[misc]
        """Hands over the photos one by one."""

        def __init__(self) -> None:
            self._photos: Iterator[NDArray[np.float32]] = (pixels[i : i + 1] for i in range(len(pixels)))

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            """Give the next photo, or None after the last."""
            photo = next(self._photos, None)
            return None if photo is None else {"pixels": photo}

    def make_file(path: Path) -> None:
        model = onnx.load(fp32)
        # The tool warns on the root logger unless the file says that its norms were folded and its shapes inferred:
        # they were, by torch's exporter.
        entry = model.metadata_props.add()
        entry.key, entry.value = "onnx.quant.pre_process", "onnxruntime.quant"
        quantize_static(
            model,
            path,
            Photos(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv"],  # nearly all of the work; the linear layer stays exact
            extra_options={"ActivationSymmetric": True},
        )

    return write(checkpoint, "int8", make_file)
