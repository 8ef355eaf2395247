"""Layer lists that several tests share."""

from hw_sim import ConvLayer


def resnet20(batch: int = 1) -> list[ConvLayer]:
    """The 19 convolutions of ResNet-20 on 32 x 32 images."""
    layers = [ConvLayer("conv1", batch, 3, 16, 32, 32, (3, 3), padding=1)]
    channels, size = 16, 32
    for stage in range(3):
        for block in range(6):
            name = f"stage{stage + 1}.{block}"
            first = stage > 0 and block == 0
            out, stride = (2 * channels, 2) if first else (channels, 1)
            layers.append(ConvLayer(name, batch, channels, out, size, size, (3, 3), stride, 1))
            channels, size = out, size // stride
    return layers
