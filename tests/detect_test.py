import dataclasses
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import btbnet_jax
from btbnet_jax.detect import Box, Detection, Detector
from btbnet_jax.images import ImageError, encode_png, resize_image, resize_map, write_png
from btbnet_jax.network import BTBNet, init_params, quick
from btbnet_jax.weights import Weights, save_weights
from tests.raw_sets import noise
from tests.small_runs import CONFIG

NETWORK = CONFIG.network  # of one stream and two recurrent steps


@pytest.fixture(scope="module")
def params() -> Any:
    return init_params(jax.random.key(0), NETWORK)


@pytest.fixture(scope="module")
def native(params: Any) -> Detector:
    return Detector(params, NETWORK, resolution="native", tile=64)


@jax.jit
def in_one_piece(params: Any, image: jax.Array) -> jax.Array:
    outputs: Any = BTBNet(NETWORK).apply({"params": params}, image[None] / 255.0)
    return outputs.focus_map[0, ..., 0]


def expected_map(params: Any, image: np.ndarray) -> np.ndarray:
    """The network's map of the whole image, without any padding."""
    return np.asarray(in_one_piece(params, jnp.asarray(image)))


@pytest.mark.parametrize("size", [(1, 1), (33, 50), (64, 64), (70, 65), (100, 90), (5, 1700)])
def test_a_photograph_has_the_networks_map_in_one_piece_padded_or_in_tiles(
    params: Any, native: Detector, size: tuple[int, int]
):
    image = noise(size)
    np.testing.assert_allclose(native(image).focus_map, expected_map(params, image), atol=1e-5)


@pytest.mark.parametrize("size", [(40, 60), (100, 90)])
def test_the_fastest_way_and_the_exact_one_differ_by_rounding(
    params: Any, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
):
    network = dataclasses.replace(NETWORK, precision="default")
    image, options = noise(size), {"resolution": "native", "tile": 64}
    narrow = Detector(params, network, **options)(image).focus_map
    monkeypatch.setattr(quick, "LEAST_CHANNELS", 16)  # as if so narrow a network were wide
    fast, exact = (Detector(params, network, exact=exact, **options)(image).focus_map for exact in (False, True))
    for quickly in (narrow, fast):
        np.testing.assert_allclose(quickly, exact, atol=1e-5)
        assert np.any(quickly != exact)
    assert np.any(narrow != fast)  # by Winograd's way, then
    np.testing.assert_allclose(exact, expected_map(params, image), atol=1e-5)


@pytest.mark.parametrize("size", [(40, 60), (100, 90)])
def test_a_map_of_bfloat16_is_that_of_float32_but_for_its_rounding(params: Any, size: tuple[int, int]):
    image, options = noise(size), {"resolution": "native", "tile": 64}
    half, whole = (Detector(params, NETWORK, half=half, **options)(image).focus_map for half in (True, False))
    assert half.dtype == np.float32
    assert 1e-5 < np.abs(half - whole).max() < 0.05
    with pytest.raises(ValueError, match="give exact or half"):
        Detector(params, NETWORK, half=True, exact=True)


def test_a_list_has_the_maps_of_its_photographs_one_by_one(native: Detector):
    images = [noise(size) for size in ((10, 20), (70, 80), (12, 20), (64, 3), (11, 11), (10, 10), (9, 9))]
    for image, detection in zip(images, native(images), strict=True):
        np.testing.assert_allclose(detection.focus_map, native(image).focus_map, atol=1e-6)
    stacked: Any = native(np.stack([images[0], images[0]]))  # a whole batch as one array
    np.testing.assert_allclose(stacked[1].focus_map, native(images[0]).focus_map, atol=1e-6)


def test_on_a_gpu_photographs_of_a_size_make_a_batch_and_all_devices_share_tiles(
    params: Any, native: Detector, monkeypatch: pytest.MonkeyPatch
):
    images = [noise(size) for size in ((40, 60), (38, 60), (40, 58), (200, 150))]  # three of one shape, one for tiles
    expected = [detection.focus_map for detection in native(images)]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")  # what is done there, on the CPU's simulated devices
    detector, batches = Detector(params, NETWORK, resolution="native", tile=64, batch_size=2), []
    in_one_piece = detector._in_one_piece
    monkeypatch.setattr(
        detector,
        "_in_one_piece",
        lambda program, some, shape: batches.append(len(some)) or in_one_piece(program, some, shape),
    )
    for detection, focus_map in zip(detector(images), expected, strict=True):
        np.testing.assert_allclose(detection.focus_map, focus_map, atol=1e-5)
    assert sorted(batches) == [1, 2]
    assert detector._tiling.devices == tuple(jax.devices())


def test_every_kind_of_picture_is_taken(native: Detector, tmp_path: Path):
    image = noise((20, 30))
    write_png(tmp_path / "a.png", image)
    expected = native(image).focus_map
    kinds = [tmp_path / "a.png", str(tmp_path / "a.png"), encode_png(image), io.BytesIO(encode_png(image))]
    kinds += [Image.fromarray(image), image / 255.0, image.astype(np.uint16) * 257]
    for detection in native(kinds):
        np.testing.assert_allclose(detection.focus_map, expected, atol=1e-5)
    with pytest.raises(ImageError, match=r"an array is \[h, w\]"):
        native(np.zeros((2, 2, 2), np.uint8))


def test_at_the_training_resolution_a_square_goes_in_and_the_photographs_own_size_comes_out(params: Any):
    image = noise((40, 70))
    detector = Detector(params, NETWORK, training_size=32)
    expected = resize_map(expected_map(params, resize_image(image, (32, 32))), (40, 70))
    np.testing.assert_allclose(detector(image).focus_map, expected, atol=1e-5)


@pytest.mark.parametrize(("size", "seen"), [((40, 80), (20, 40)), ((81, 3), (40, 1)), ((40, 30), (40, 30))])
def test_a_longest_side_makes_larger_photographs_smaller_and_no_others_larger(
    params: Any, size: tuple[int, int], seen: tuple[int, int]
):
    image = noise(size)
    expected = resize_map(expected_map(params, resize_image(image, seen)), size)
    np.testing.assert_allclose(Detector(params, NETWORK, resolution=40)(image).focus_map, expected, atol=1e-5)


@pytest.mark.parametrize("size", [(20, 30), (70, 80)])
def test_all_maps_are_those_on_the_way_and_the_last_is_the_result(native: Detector, size: tuple[int, int]):
    image = noise(size)
    detection = native(image, all_maps=True)
    assert list(detection.maps) == ["stream 1, scale 1/2", "fused", "step 1", "step 2"] == native.map_names()
    np.testing.assert_array_equal(detection.maps["step 2"], detection.focus_map)
    np.testing.assert_allclose(native(image).focus_map, detection.focus_map, atol=1e-6)
    assert {one.shape for one in detection.maps.values()} == {size}


def test_what_tools_need_follows_from_the_map():
    focus_map = np.zeros((6, 8), np.float32)
    focus_map[1, 1] = 1  # a speck
    focus_map[2:5, 3:7] = 0.75
    detection = Detection(focus_map, {}, ())
    assert detection.fraction_in_focus() == 13 / 48
    assert detection.fraction_in_focus(0.9) == 1 / 48
    assert detection.box_in_focus() == Box(top=2, left=3, bottom=5, right=7)
    assert detection.box_in_focus(0.9) == Box(1, 1, 2, 2)
    assert Detection(np.zeros((3, 3), np.float32), {}, ()).box_in_focus() is None
    assert detection.mask(0.75).sum() == 13


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"resolution": 0}, 'the resolution is "training", "native" or a longest side in pixels, not 0'),
        ({"tile": 15}, "a tile 16 pixels a side or more"),
        ({"batch_size": 0}, "a batch has 1 photograph or more"),
    ],
)
def test_options_that_cannot_be_are_refused(params: Any, options: dict[str, Any], words: str):
    with pytest.raises(ValueError, match=words):
        Detector(params, NETWORK, **options)


def test_a_weights_file_is_all_that_a_detector_needs(params: Any, tmp_path: Path):
    path = tmp_path / "small.safetensors"
    save_weights(path, Weights(jax.device_get(params), NETWORK, {"config": CONFIG.to_json()}, "CC0-1.0"))
    image = noise((20, 20))
    assert CONFIG.data.size == 16  # what it was trained at
    expected = resize_map(expected_map(params, resize_image(image, (16, 16))), (20, 20))
    np.testing.assert_allclose(Detector.load(str(path))(image).focus_map, expected, atol=1e-5)
    np.testing.assert_allclose(
        Detector.load(str(path), resolution="native")(image).focus_map, expected_map(params, image), atol=1e-5
    )


def test_the_package_itself_hands_out_the_detector_and_imports_nothing_before():
    program = "import sys, btbnet_jax; print('jax' in sys.modules, btbnet_jax.Detector.__name__, 'jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "Detector", "True"]
    with pytest.raises(AttributeError, match="has no attribute 'Detektor'"):
        btbnet_jax.Detektor  # noqa: B018


@pytest.mark.parametrize(
    ("size", "options", "seen"),
    [
        ((20, 39), {}, (16, 16)),
        ((20, 60), {}, (9, 28)),
        ((60, 20), {}, (28, 9)),
        ((2, 200), {}, (2, 160)),
        ((30, 90), {"training_size": 40}, (24, 68)),  # in steps of a tenth
        ((20, 60), {"resolution": 50}, (32, 64)),  # 17 x 50, in an array of sixteens
    ],
)
def test_a_long_photograph_is_seen_in_its_own_shape(params: Any, size: tuple[int, int], options: Any, seen: Any):
    detector = Detector(params, NETWORK, **{"training_size": 16, **options})
    assert detector(noise(size)).focus_map.shape == size
    assert list(detector.programs) == [(seen, False, 1)]


def test_at_the_size_of_its_training_an_image_fills_its_array(params: Any):
    image = noise((50, 70))
    detector = Detector(params, NETWORK, training_size=21)
    expected = resize_map(expected_map(params, resize_image(image, (21, 21))), (50, 70))
    np.testing.assert_allclose(detector(image).focus_map, expected, atol=1e-5)
    assert list(detector.programs) == [((21, 21), False, 1)]
    native = Detector(params, NETWORK, resolution="native")
    native(image)
    texts = [one.programs[shape, False, 1].as_text() for one, shape in ((detector, (21, 21)), (native, (64, 80)))]
    assert ["s32[1,2]" in text for text in texts] == [False, True]  # the size of an image


def test_where_several_are_computed_at_once_a_lone_photograph_is_computed_alone(
    params: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Detector, "_together", lambda *_: 4)  # as on a GPU
    images = [noise((16, 16)) for _ in range(5)]
    detector = Detector(params, NETWORK, training_size=16)
    alone = detector(images[4]).focus_map
    assert list(detector.programs) == [((16, 16), False, 1)]
    together = detector(images)
    assert list(detector.programs)[1:] == [((16, 16), False, 4)]
    detector(images[0])
    assert len(detector.programs) == 2
    for image, detection in zip(images, together, strict=True):
        np.testing.assert_allclose(detection.focus_map, expected_map(params, image), atol=1e-5)
    np.testing.assert_allclose(alone, together[4].focus_map, atol=1e-5)


def test_photographs_of_many_sizes_share_a_few_programs(params: Any):
    detector = Detector(params, NETWORK, resolution="native")
    detector([noise((height, width)) for height in range(30, 33) for width in range(40, 48)])
    assert list(detector.programs) == [((32, 48), False, 1)]
