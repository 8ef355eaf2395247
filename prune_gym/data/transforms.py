"""What is done to a batch of images on its way to the network, on the device that holds it."""

import torch

# One normalisation for all data sets: that of the public CIFAR-10 weights.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
PADDING = 4  # pixels on each side, the crop of He et al. (2016), section 4.2


def normalize(images: torch.Tensor, device: torch.device | str | None = None) -> torch.Tensor:
    """Turn pixels into the network's input: RGB in [0, 1], minus ``MEAN``, over ``STD``.

    Args:
        images: uint8, (N, 3, H, W).
        device: Where the result lives; the images' own device by default.

    Returns:
        float32, (N, 3, H, W), in the ``channels_last`` memory format.

    Raises:
        TypeError: ``images`` is not uint8.
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"normalize() takes uint8 pixels, not {images.dtype}.")
    # Bytes travel to the device, not floats: a quarter of the traffic.
    pixels = (
        images.to(device or images.device).float().contiguous(memory_format=torch.channels_last)
    )
    mean = torch.tensor(MEAN, device=pixels.device).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=pixels.device).view(1, 3, 1, 1)
    return pixels.sub_(255.0 * mean).div_(255.0 * std)  # two passes, not three


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Shift each image by up to ``PADDING`` pixels and mirror half of them.

    The usual random crop of a padded image (He et al., 2016), each image with its own offset,
    except that the border is reflected rather than black, which no data set shows (this project's
    choice).

    Args:
        images: uint8 or float, (N, C, H, W), H and W above ``PADDING``; left as it is.
        generator: On the CPU, whatever the images' device, so that all devices draw alike.

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
    """Fold indices that lie outside 0..size-1 back inside, at the border's pixel."""
    return (size - 1) - ((size - 1) - index.abs()).abs()
