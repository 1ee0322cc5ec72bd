import numpy as np
import pytest

from btbnet_jax.sources.generated import NUM_SCENES, scene
from btbnet_jax.sources.simulated import blur_once


@pytest.fixture(scope="module")
def scenes() -> np.ndarray:
    return np.stack([scene("train", index) for index in range(4)])


def sharpest_steps(image: np.ndarray) -> np.ndarray:
    """The largest difference of neighbours within each 64 × 64 block."""
    steps = np.abs(np.diff(image.mean(axis=-1), axis=1, append=0))
    steps[:, -1] = 0
    return steps.reshape(5, 64, 5, 64).max(axis=(1, 3))


def test_a_scene_depends_on_its_split_and_index_alone():
    first = scene("train", 3)
    np.testing.assert_array_equal(scene("train", 3), first)
    assert (first.shape, first.dtype) == ((320, 320, 3), np.uint8)
    for other in (scene("train", 4), scene("test", 3)):
        assert np.abs(other.astype(int) - first).mean() > 20


def test_there_are_scenes_to_train_on_and_to_test():
    assert sorted(NUM_SCENES) == ["test", "train"]
    with pytest.raises(ValueError, match="there are scenes of train and test, not of validation"):
        scene("validation", 0)


@pytest.mark.parametrize("size", [(1, 1), (7, 90), (400, 33)])
def test_scenes_come_in_any_size(size: tuple[int, int]):
    assert scene("test", 0, height=size[0], width=size[1]).shape == (*size, 3)


def test_the_spectrum_falls_as_in_photographs(scenes: np.ndarray):
    """Amplitudes of natural images fall about as 1 / f (Field 1987), measured slopes lie between -0.8 and -1.5."""
    spectra = [np.abs(np.fft.fft2(image.mean(axis=-1))) for image in scenes]
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(320), np.fft.fftfreq(320)))
    rings = np.digitize(frequency, np.geomspace(0.01, 0.5, 8))
    amplitude = [np.mean(spectra, axis=0)[rings == ring].mean() for ring in range(1, 8)]
    centre = [frequency[rings == ring].mean() for ring in range(1, 8)]
    slope = np.polyfit(np.log(centre), np.log(amplitude), 1)[0]
    assert -1.5 < slope < -0.8


def test_scenes_are_sharp_everywhere(scenes: np.ndarray):
    for image in scenes:
        blurred = blur_once(image.astype(np.float32))
        assert (sharpest_steps(image) > 3 * sharpest_steps(blurred)).all()  # soft edges lose less by a blur


def test_scenes_use_the_range_of_levels_and_of_colours(scenes: np.ndarray):
    pixels = scenes.reshape(-1, 3).astype(int)
    assert 80 < pixels.mean() < 170
    assert pixels.mean(axis=1).std() > 40
    assert np.abs(pixels[:, 0] - pixels[:, 2]).mean() > 15
