"""Whoever maps photographs by one command and scores the maps by another gets the figures of `evaluate.py`."""

import json
from pathlib import Path

import pytest

from btbnet_jax import metrics
from btbnet_jax.cli import main
from btbnet_jax.images import resize_image
from btbnet_jax.sources import generated, simulated
from tests.script_calls import Call
from tests.small_sets import build_pairs


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with pairs/squares, of the size that btbnet-small has learned from, and pairs/others."""
    folder = tmp_path_factory.mktemp("data")
    pairs = [simulated.blurred_version(generated.scene("test", number), 4 * number + 3) for number in range(3)]
    for name, sizes in (("squares", [(320, 320)] * 3), ("others", [(200, 301), (96, 96), (301, 200)])):
        resized = [
            (resize_image(image, size), resize_image(mask, size) // 128 * 255)
            for (image, mask), size in zip(pairs, sizes, strict=True)
        ]
        build_pairs(folder, name, {f"scene{number}": pair for number, pair in enumerate(resized)})
    return folder


@pytest.mark.parametrize(("name", "size", "options"), [("squares", 320, []), ("others", 0, ["--max-size=0"])])
def test_maps_of_btbnet_detect_have_the_scores_of_evaluate(
    evaluate: Call, data_dir: Path, tmp_path: Path, name: str, size: int, options: list[str]
):
    raw = data_dir / "raw" / name
    set_arguments = [f"--data_dir={data_dir}", f"--data=pairs/{name}", "--split=train"]
    status, _, errors = evaluate("--run=btbnet-small", *set_arguments, f"--size={size}")
    assert status == 0, errors
    assert main(["detect", str(raw / "images"), "--weights=btbnet-small", "--output=maps", *options]) == 0
    assert main(["score", "maps", f"--masks={raw / 'masks'}", "--output=scores", "--no-polarity-check"]) == 0
    expected, found = (
        json.loads((tmp_path / folder / "results.json").read_text())["scores"][0] for folder in ("out", "scores")
    )
    assert (expected["method"], found["method"]) == ("btbnet-small", "maps")
    assert 0.3 < expected["adaptive"] < 1
    for protocol in metrics.PROTOCOLS:
        assert found[protocol.__name__] == pytest.approx(expected[protocol.__name__], abs=1e-4), protocol.__name__
