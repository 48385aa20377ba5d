"""Random changes of training photos. They end in the square that the network sees; normalising it is not done here."""

from __future__ import annotations

from geomind.config import AugmentConfig
from geomind.data.dataset import Augment
from geomind.photos import Preprocessing


def build_augment(config: AugmentConfig, preprocessing: Preprocessing) -> Augment | None:
    """Build the augmentation that the settings ask for, or None where they ask for none.

    The order is the field's: crop, mirror, turn, then colour. All chance is that of torch's global generator.
    """
    from torchvision.transforms import v2

    steps: list[Augment] = []
    if config.crop_scale_min < 1:
        kernel = v2.InterpolationMode(preprocessing.resample)
        steps.append(
            v2.RandomResizedCrop(preprocessing.image_size, scale=(config.crop_scale_min, 1.0), interpolation=kernel)
        )
    if config.horizontal_flip:
        steps.append(v2.RandomHorizontalFlip())
    if config.vertical_flip:
        steps.append(v2.RandomVerticalFlip())
    if config.rotation_degrees:
        steps.append(v2.RandomRotation(config.rotation_degrees, interpolation=v2.InterpolationMode.BILINEAR))
    if config.color_jitter or config.hue_jitter:
        strength = config.color_jitter
        steps.append(v2.ColorJitter(strength, strength, strength, config.hue_jitter))
    if config.grayscale_probability:
        steps.append(v2.RandomGrayscale(config.grayscale_probability))
    if not steps:
        return None
    if config.crop_scale_min == 1:
        steps.insert(0, preprocessing.square)
    composed: Augment = v2.Compose(steps)
    return composed
