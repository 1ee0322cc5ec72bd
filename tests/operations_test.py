import sys
from pathlib import Path

import jax
import jax.numpy as jnp

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.operations import operations
from btbnet_jax.network import BTBNet, for_inference, init_params
from tests.small_runs import CONFIG


def test_the_operations_of_a_program_are_counted_with_what_they_write():
    program = """
%fused (p: f32[9]) -> f32[9] {
  ROOT %copy.9 = f32[9]{0} copy(%p)
}

%condition (c: (s32[], f32[3])) -> pred[] {
  ROOT %less = pred[] compare(%c, %c), direction=LT
}

%body (b: (s32[], f32[3])) -> (s32[], f32[3]) {
  %dot.1 = f32[3]{0} dot(%b, %b), lhs_contracting_dims={0}
  ROOT %tuple.1 = (s32[], f32[3]{0}) tuple(%b, %dot.1)
}

%recorded (r: f32[5]) -> f32[5] {
  %while.1 = (s32[], f32[3]{0}) while(%r), condition=%condition, body=%body, backend_config={"known":"5"}
  ROOT %copy.7 = f32[5]{0} copy(%r)
}

ENTRY %main (a: u8[1,4,4,3]) -> f32[2] {
  %a = u8[1,4,4,3]{3,2,1,0} parameter(0)
  %fusion.1 = bf16[1,4,4,3]{3,2,1,0} fusion(%a), kind=kLoop, calls=%fused
  %copy.1 = bf16[1,4,4,3]{2,1,3,0} copy(%fusion.1)
  %conv = (bf16[1,4,4,8]{3,2,1,0}, u8[16]{0}) custom-call(%copy.1), custom_call_target="__cudnn$convForward"
  %get-tuple-element.1 = bf16[1,4,4,8]{3,2,1,0} get-tuple-element(%conv), index=0
  %called = f32[5]{0} call(%conv), to_apply=%recorded
  ROOT %copy.2 = f32[2]{0} copy(%get-tuple-element.1)
}
"""
    assert operations(program) == {
        "fusion kLoop": [96],
        "copy": [96, 20, 8],
        "compare": [1],
        "dot": [12],
        "custom-call __cudnn$convForward": [256],
    }


def test_no_features_are_copied_into_another_layout():
    convolution, params = for_inference(CONFIG.network, init_params(jax.random.key(0), CONFIG.network))
    network = BTBNet(CONFIG.network, convolution)
    program = jax.jit(lambda params, images: network.apply({"params": params}, images))
    found = operations(str(program.lower(params, jnp.zeros((2, 16, 16, 3))).compile().as_text()))
    assert len(found["convolution"]) > 30
    features = 4 * 2 * 16 * 16 * CONFIG.network.channels(64)
    assert all(max(found.get(kind, [0])) < features for kind in ("copy", "transpose"))
