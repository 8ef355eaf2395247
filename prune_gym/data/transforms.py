"""Augmentation of batches, on the device of the images."""

import torch

PADDING = 4  # pixels on each side, as in He et al. (2016), section 4.2


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Shift each image by up to ``PADDING`` pixels and mirror half of the images.

    This is the random crop of a padded image (He et al., 2016) with one offset per image. The
    padding reflects the border instead of being black (this project's choice).

    Args:
        images: Images, uint8 or float, shape (N, C, H, W); they are not changed.
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
    """Reflect indices outside 0..size-1 at the border pixels, as often as a small size needs."""
    period = max(1, 2 * (size - 1))
    index = index.abs() % period
    return torch.minimum(index, period - index)
