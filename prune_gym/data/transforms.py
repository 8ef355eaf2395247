"""Batch transforms: augmentation and normalisation, on the device of the images."""

import torch

# All data sets share the normalisation of the public CIFAR-10 weights.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
PADDING = 4  # pixels on each side, as in He et al. (2016), section 4.2


def normalize(images: torch.Tensor, device: torch.device | str | None = None) -> torch.Tensor:
    """Convert pixels to network input: scale to [0, 1], subtract ``MEAN``, divide by ``STD``.

    Args:
        images: Images, uint8, shape (N, 3, H, W).
        device: Device of the result; by default the device of the images.

    Returns:
        Normalised images, float32, shape (N, 3, H, W), in ``channels_last`` memory format.

    Raises:
        TypeError: If ``images`` is not uint8.
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"normalize() needs uint8 pixels, not {images.dtype}.")
    # Transfer bytes instead of floats to the device: a quarter of the data.
    pixels = (
        images.to(device or images.device).float().contiguous(memory_format=torch.channels_last)
    )
    mean = torch.tensor(MEAN, device=pixels.device).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=pixels.device).view(1, 3, 1, 1)
    return pixels.sub_(255.0 * mean).div_(255.0 * std)  # two passes, not three


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Shift each image by up to ``PADDING`` pixels and mirror half of the images.

    This is the random crop of a padded image (He et al., 2016) with one offset per image. The
    padding reflects the border instead of being black (this project's choice).

    Args:
        images: Images, uint8 or float, shape (N, C, H, W), with H and W greater than ``PADDING``;
            they are not changed.
        generator: Random generator on the CPU, so that the draws do not depend on the device.

    Returns:
        A new tensor of the same shape, dtype, device and memory format.
    """
    n, channels, height, width = images.shape
    offsets = torch.randint(-PADDING, PADDING + 1, (2, n, 1), generator=generator)
    mirrored = torch.randint(0, 2, (n, 1), generator=generator).bool()
    rows = _reflect(torch.arange(height) + offsets[0], height)
    columns = _reflect(torch.arange(width) + offsets[1], width)
    columns = torch.where(mirrored, columns.flip(1), columns)
    pixel = (rows[:, :, None] * width + columns[:, None, :]).view(n, 1, height * width)
    result = (
        images.flatten(2)
        .gather(2, pixel.to(images.device).expand(-1, channels, -1))
        .view_as(images)
    )
    channels_last = images.is_contiguous(memory_format=torch.channels_last)
    return result.contiguous(
        memory_format=torch.channels_last if channels_last else torch.contiguous_format
    )


def _reflect(index: torch.Tensor, size: int) -> torch.Tensor:
    """Reflect indices outside 0..size-1 at the border pixel."""
    return (size - 1) - ((size - 1) - index.abs()).abs()
