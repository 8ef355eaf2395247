"""The layers of the study: 19 convolutions of ResNet-20 on 32 x 32 images, batch 1."""

from typing import Any

from hw_sim import ConvLayer


def resnet20() -> list[ConvLayer]:
    """The layers in order."""
    layers = [ConvLayer("conv1", 1, 3, 16, 32, 32, (3, 3), padding=1)]
    channels, size = 16, 32
    for stage in range(3):
        for block in range(6):
            stride = 2 if stage and not block else 1
            name = f"stage{stage + 1}.{block}"
            layers.append(
                ConvLayer(name, 1, channels, channels * stride, size, size, (3, 3), stride, 1)
            )
            channels, size = channels * stride, size // stride
    return layers


def as_json(layers: list[ConvLayer]) -> list[dict[str, Any]]:
    """The layers in the form that the peers' scripts read."""
    return [
        {
            "name": layer.name.replace(".", "_"),
            "in_channels": layer.in_channels,
            "out_channels": layer.out_channels,
            "out": layer.out_height,
            "kernel": layer.kernel[0],
            "stride": layer.stride,
        }
        for layer in layers
    ]
