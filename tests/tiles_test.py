import dataclasses
import functools
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from btbnet_jax import tiles
from btbnet_jax.compiler import has_onednn
from btbnet_jax.config import NetworkConfig, paper_scales
from btbnet_jax.grid import Tile, choose_tile
from btbnet_jax.network import BTBNet, OneDnnConvolution, Outputs
from btbnet_jax.tiles import TiledOutputs, fusion_radius, tiled_logits, tiled_outputs
from btbnet_jax.tiling import Tiling
from tests.reference_network import random_params

TILE, LARGEST = 32, 160
DEVIATION = 0.5  # of logits: that of maps is a quarter of it
CONFIG = NetworkConfig(scales=(Fraction(1), Fraction(3, 5)), width=1 / 32, precision="highest")
Params = dict[str, Any]


@functools.partial(jax.jit, static_argnums=0)
def in_one_piece(config: NetworkConfig, params: Params, array: jax.Array, size: jax.Array) -> Outputs:
    return BTBNet(config).apply({"params": params}, array / 255.0, size)  # pyright: ignore[reportReturnType]


def whole(config: NetworkConfig, params: Params, image: np.ndarray) -> TiledOutputs:
    """The network's own result, in an array of one size for all images, so that it is compiled once."""
    height, width = image.shape[:2]
    array = np.zeros((1, LARGEST, LARGEST, 3), np.uint8)
    array[0, :height, :width] = image
    outputs = in_one_piece(config, params, jnp.asarray(array), jnp.array([[height, width]]))
    return TiledOutputs(*(np.asarray(logits)[..., :height, :width, 0].squeeze(-3) for logits in outputs))


def spread(config: NetworkConfig) -> Params:
    """Parameters with biases, and with logits of mean 0 and one deviation in every map of a picture."""
    params, image = random_params(BTBNet(config), jnp.zeros((1, 8, 8, 3))), picture(LARGEST, LARGEST)
    last = [
        [("stream" if config.share_streams else f"stream{n + 1}", layer) for layer in ("down1", "side1")]
        for n in range(1 if config.share_streams else len(config.scales))
    ]
    recurrent = config.use_rrnet and config.num_steps > 0
    last += [[("fnet", "conv4")]] * config.use_fnet + [[("rrnet", "step", "conv4")]] * recurrent
    for number, layers in enumerate(last):
        streams, fused, steps = whole(config, params, image)
        logits = [*streams[: 1 if config.share_streams else None], *[fused] * config.use_fnet, *steps[:1]][number]
        for layer in layers:
            part = functools.reduce(lambda tree, name: tree[name], layer, params)
            part["bias"] = (part["bias"] - logits.mean() / len(layers)) * DEVIATION / logits.std()
            part["kernel"] = part["kernel"] * DEVIATION / logits.std()
    return params


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(height, width, 3))
    smooth = noise + 20 * ndimage.gaussian_filter(noise, (8, 8, 0))
    return (255 * (smooth - smooth.min()) / max(np.ptp(smooth), 1e-6)).astype(np.uint8)


def sizes() -> list[tuple[int, int]]:
    """50 random sizes, of which most span 3 x 3 tiles or more; small ones have tiles of their own to be compiled."""
    rng = np.random.default_rng(0)
    small, large = rng.integers(1, 2 * TILE, (8, 2)), rng.integers(4 * TILE + 1, LARGEST + 1, (42, 2))
    return [(int(height), int(width)) for height, width in np.concatenate([small, large])]


def assert_same(found: TiledOutputs, expected: TiledOutputs) -> None:
    for name, logits, others in zip(found._fields, found, expected, strict=True):
        np.testing.assert_allclose(logits, others, atol=1e-5, rtol=1e-5, err_msg=name)


@pytest.fixture(scope="module")
def params() -> Params:
    return spread(CONFIG)


@pytest.mark.parametrize("size", sizes(), ids=str)
def test_tiles_have_the_logits_of_the_whole_image(params: Params, size: tuple[int, int]):
    image = picture(*size)
    found, expected = tiled_outputs(CONFIG, params, image, Tiling(TILE)), whole(CONFIG, params, image)
    assert_same(found, expected)
    if min(size) > TILE:
        assert (1 / (1 + np.exp(-expected.steps[-1]))).std() > 0.05


@pytest.mark.skipif(not has_onednn(), reason="this XLA has no convolutions of oneDNN")
def test_tiles_by_onednn_are_the_same(params: Params):
    image = picture(90, 75)
    found = tiled_outputs(CONFIG, params, image, Tiling(TILE, convolution=OneDnnConvolution))
    assert_same(found, whole(CONFIG, params, image))


def test_at_least_40_of_the_sizes_span_3_by_3_tiles():
    tilings = [choose_tile(size, TILE, fusion_radius(CONFIG)) for size in sizes()]
    sides = [
        [-(-n // side) for n, side in zip(size, tile.shape, strict=True)]
        for size, tile in zip(sizes(), tilings, strict=True)
    ]
    assert sum(min(numbers) >= 3 for numbers in sides) >= 40


def test_the_final_map_alone_is_that_of_all(params: Params):
    image = picture(70, 45)
    np.testing.assert_array_equal(
        tiled_logits(CONFIG, params, image, Tiling(TILE)), tiled_outputs(CONFIG, params, image, Tiling(TILE)).steps[-1]
    )


@pytest.mark.parametrize("tile", [16, 33, 200])
def test_the_size_of_tiles_changes_nothing(params: Params, tile: int):
    image = picture(75, 90)
    assert_same(tiled_outputs(CONFIG, params, image, Tiling(tile)), whole(CONFIG, params, image))


@pytest.mark.parametrize("size", [(1, 2999), (331, 997), (1333, 3)], ids=str)
def test_large_and_narrow_images_too(params: Params, size: tuple[int, int]):
    image = picture(*size)
    outputs = jax.jit(BTBNet(CONFIG).apply)({"params": params}, jnp.asarray(image)[None] / 255.0)
    expected = TiledOutputs(*(np.asarray(logits)[..., 0].squeeze(-3) for logits in outputs))  # pyright: ignore[reportGeneralTypeIssues]
    assert_same(tiled_outputs(CONFIG, params, image, Tiling(192)), expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"share_streams": True},
        {"use_fnet": False},
        {"use_rrnet": False},
        {"num_steps": 0},
        {"num_steps": 1, "use_fnet": False},
        {"scales": paper_scales(1)},
        {"scales": (Fraction(3, 2), Fraction(1, 3))},
    ],
    ids=str,
)
def test_every_kind_of_network_has_exact_tiles(changes: dict[str, Any]):
    config = dataclasses.replace(CONFIG, scales=(Fraction(1), Fraction(1, 2)))
    config = dataclasses.replace(config, **changes)
    params, image = spread(config), picture(101, 83)
    found = tiled_outputs(config, params, image, Tiling(TILE))
    assert_same(found, whole(config, params, image))
    final = found.steps[-1] if len(found.steps) else found.fused
    np.testing.assert_array_equal(tiled_logits(config, params, image, Tiling(TILE)), final)


def test_a_border_that_is_not_the_images_shows(params: Params, monkeypatch: pytest.MonkeyPatch):
    image = picture(70, 70)
    expected = whole(CONFIG, params, image)
    monkeypatch.setattr(Tile, "inside", lambda tile, origin, size: jnp.ones((1, *tile.wide, 1), bool))
    found = without_cache(tiled_outputs)(CONFIG, params, image, Tiling(TILE))
    assert np.abs(found.streams - expected.streams).max() > 1e-2
    assert np.abs(found.fused - expected.fused).max() > 1e-2


def without_cache(function: Any) -> Any:
    """Compiles the tiles' programs anew, before and after."""

    def call(*arguments: Any, **options: Any) -> Any:
        programs = [program.by(onednn=False) for program in (tiles._stream_tiles, tiles._fusion_tiles)]
        for program in programs:
            program.clear_cache()
        try:
            return function(*arguments, **options)
        finally:
            for program in programs:
                program.clear_cache()

    return call


def test_a_tile_without_the_border_that_it_draws_from_shows(params: Params, monkeypatch: pytest.MonkeyPatch):
    image = picture(70, 70)
    expected = whole(CONFIG, params, image)
    monkeypatch.setattr(tiles, "STREAM_RADIUS", 16)
    found = without_cache(tiled_outputs)(CONFIG, params, image, Tiling(TILE))
    assert np.abs(found.streams - expected.streams).max() > 1e-4


def test_one_program_for_each_stream_and_one_for_the_fusion_serve_all_sizes_with_the_same_tiles(params: Params):
    programs = [program.by(onednn=False) for program in (tiles._stream_tiles, tiles._fusion_tiles)]

    def compiled() -> list[int]:
        for size in ((128, 128), (125, 127), (121, 124)):
            tiled_logits(CONFIG, params, picture(*size), Tiling(TILE))
        return [program._cache_size() for program in programs]

    assert without_cache(compiled)() == [2, 1]


def test_devices_share_the_tiles_of_an_image(params: Params):
    devices = tuple(jax.devices())
    assert Tiling(devices=devices).mesh.size == 8
    for size in ((90, 75), (16, 16)):  # 3 x 3 tiles, and fewer than there are devices
        image = picture(*size)
        found = tiled_outputs(CONFIG, params, image, Tiling(TILE, devices=devices))
        assert_same(found, tiled_outputs(CONFIG, params, image, Tiling(TILE)))


def test_tiles_that_would_be_all_border_are_refused(params: Params):
    with pytest.raises(ValueError, match="a tile has 16 pixels a side or more, not 15"):
        tiled_logits(CONFIG, params, picture(8, 8), Tiling(15))
