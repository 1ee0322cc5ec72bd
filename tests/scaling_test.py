import dataclasses
import sys
from pathlib import Path

import jax
import pytest

from tests.small_runs import CONFIG

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.scaling import CLUSTERS, compiled, efficiencies, exchanged
from btbnet_jax.network import init_params


def test_what_devices_exchange_in_a_step_is_the_gradient():
    config = dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, batch_size=8))
    found = dict(exchanged(compiled(config, 16, 8).as_text()))
    shapes = jax.eval_shape(lambda: init_params(jax.random.key(0), CONFIG.network))
    gradient = 4 * sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert found.keys() == {"all-reduce"}
    assert gradient <= found["all-reduce"] < 1.01 * gradient + 1000  # and the loss with its terms


def test_the_results_of_collectives_are_counted():
    program = """
      %all-reduce.1 = (f32[3,3,2,4]{3,2,1,0}, f32[]) all-reduce(%a, %b), channel_id=1
      ROOT %x = bf16[10]{0} all-reduce-start(%c), channel_id=2
      %y = f32[7]{0} all-gather(%d), dimensions={0}
      %z = f32[99]{0} add(%all-reduce.1, %all-gather)
    """
    assert dict(exchanged(program)) == {"all-reduce": 4 * 72 + 4 + 20, "all-gather": 28}


def test_more_devices_and_slower_links_cost_more():
    shares = [[efficiencies(cluster, num, 22e12, 216e6, 0.5) for num in (2, 8, 64)] for cluster in CLUSTERS[:3]]
    apart = [[one for one, _ in row] for row in shares]
    assert all(row == sorted(row, reverse=True) for row in [*apart, *map(list, zip(*apart, strict=True))])
    assert all(0 < one <= both <= 1 for row in shares for one, both in row)
    # By hand: 8 devices, 7/4 of 216 MB over 50 GB/s are 7.56 ms, 14 exchanges 0.14 ms, and 22 TFLOP take 55 ms.
    assert efficiencies(CLUSTERS[1], 8, 22e12, 216e6, 0.5)[0] == pytest.approx(55 / (55 + 7.56 + 0.14), rel=1e-3)
