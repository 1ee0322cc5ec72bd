"""The weights inside the package."""

import csv
from pathlib import Path

import numpy as np
import pytest

from btbnet_jax import Detector
from btbnet_jax.sources import generated, simulated
from btbnet_jax.weights import find_weights, load_weights

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("BTBNET_WEIGHTS", raising=False)


def test_the_small_network_is_found_without_being_named():
    assert find_weights() == find_weights("btbnet-small")
    assert find_weights().stat().st_size < 8_000_000


def test_the_model_card_and_the_log_of_test_images_speak_of_these_weights():
    digest = load_weights(find_weights("btbnet-small")).digest
    assert digest in (ROOT / "docs" / "btbnet-small.md").read_text(encoding="utf-8")
    figures: dict[tuple[str, str], set[tuple[str, str]]] = {}
    with (ROOT / "results" / "test_log.csv").open(newline="") as file:
        for look in csv.DictReader(file):
            if look["params_sha256"] == digest:
                figures.setdefault((look["data"], look["size"]), set()).add((look["mae"], look["adaptive"]))
    assert set(figures) == {("shi", "320"), ("dut", "320")}
    assert all(len(of) == 1 for of in figures.values()), "every look sees the same"


def test_the_small_network_tells_a_blurred_half_from_a_clear_one():
    image, mask = simulated.blurred_version(generated.scene("test", 0), 12)  # left, strongly enough
    focus_map = Detector.load("btbnet-small")(image).focus_map
    clear = mask > 0
    assert focus_map[clear].mean() - focus_map[~clear].mean() > 0.5
    assert np.abs(focus_map - clear).mean() < 0.2
