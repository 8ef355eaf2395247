"""Time of ``hw_sim`` on ResNet-20's 19 convolutions, compared with its peers."""

from hw_sim import ConvLayer


def resnet20() -> list[ConvLayer]:
    """The 19 convolutions on 32 x 32 images, batch 1, in order."""
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
