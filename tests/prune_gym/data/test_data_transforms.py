import pytest
import torch

from prune_gym.data import augment


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(n=16, size=32):
    return torch.randint(0, 256, (n, 3, size, size), generator=generator(9), dtype=torch.uint8)


def test_augment_is_a_reflected_crop_and_a_flip():
    images = batch(200)
    padded = torch.nn.functional.pad(images.float(), (4, 4, 4, 4), mode="reflect").byte()
    seen = set()
    for image, result in zip(padded, augment(images, generator()), strict=True):
        views = {
            (y, x, flip): image[:, y : y + 32, x : x + 32].flip(2 if flip else [])
            for y in range(9)
            for x in range(9)
            for flip in (False, True)
        }
        (match,) = [key for key, view in views.items() if torch.equal(view, result)]
        seen.add(match)
    rows, columns, flips = (set(values) for values in zip(*seen, strict=True))
    assert rows == columns == set(range(9))
    assert flips == {False, True}


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_augment_keeps_shape_type_and_layout(dtype, layout):
    images = batch().to(dtype).contiguous(memory_format=layout)
    before = images.clone()
    result = augment(images, generator())
    assert (result.shape, result.dtype) == (images.shape, dtype)
    assert result.is_contiguous(memory_format=layout)
    assert torch.equal(images, before)
    assert torch.equal(result, augment(batch(), generator()).to(dtype))


def test_augment_depends_on_its_generator_alone():
    torch.manual_seed(1)
    one = augment(batch(), generator(5))
    torch.manual_seed(2)
    assert torch.equal(one, augment(batch(), generator(5)))
    assert not torch.equal(one, augment(batch(), generator(6)))


def test_augment_of_an_empty_batch():
    assert augment(batch(0), generator()).shape == (0, 3, 32, 32)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_augment_reflects_small_images_as_often_as_needed(size):
    images = torch.arange(2 * size * size, dtype=torch.float32).view(2, 1, size, size)
    for image, result in zip(images, augment(images, generator()), strict=True):
        assert set(result.unique().tolist()) <= set(image.unique().tolist())
