"""Traffic, loops and collectives of compiled programs: small texts by hand, and programs of this CPU."""

import jax
import jax.numpy as jnp
import pytest

from experiments.roofline import hlo_text, total
from experiments.roofline.hlo_traffic import traffic_of

KIB = 1024


def program(body, *computations, root="f32[256]{0}"):
    """A program whose entry has these lines; f32[256] is one KiB."""
    return "\n".join(
        (
            "HloModule by_hand, is_scheduled=true",
            *computations,
            f"ENTRY %main (x: f32[256]) -> {root} {{",
            "  %x = f32[256]{0} parameter(0)",
            *(f"  {line}" for line in body),
            "}",
        )
    )


def test_an_instruction_reads_its_operands_and_writes_its_result():
    text = program(["%y = f32[256]{0} add(%x, %x)", "ROOT %z = bf16[256]{0} convert(%y)"])
    assert total(text).bytes == (2 + 1) * KIB + (1 + 0.5) * KIB


def test_arrays_on_the_chip_cost_nothing():
    text = program(["%y = f32[256]{0:T(128)S(1)} negate(%x)", "ROOT %z = f32[256]{0} exponential(%y)"])
    assert total(text).bytes == 1 * KIB + 1 * KIB


def test_shapes_of_tuples_with_layouts_and_comments():
    shapes = hlo_text.shapes_of(
        "(bf16[8,128]{1,0:T(8,128)(2,1)S(1)}, /*index=1*/s32[], (pred[3]{0}, token[]))"
    )
    assert [(s.dtype, s.dimensions, s.space) for s in shapes] == [
        ("bf16", (8, 128), 1),
        ("s32", (), 0),
        ("pred", (3,), 0),
    ]
    assert [s.bytes for s in shapes] == [2048, 4, 3]


def test_four_bit_numbers_share_a_byte():
    assert hlo_text.shapes_of("s4[10]{0}")[0].bytes == 5


FUSED_SLICE = """%fused (p: f32[64,256]) -> f32[1,256] {
  %p = f32[64,256]{1,0} parameter(0)
  %c = f32[64,256]{1,0} negate(%p)
  ROOT %s = f32[1,256]{1,0} slice(%c), slice={[3:4], [0:256]}
}"""
FUSED_UPDATE = """%fused (p: f32[64,256], q: f32[1,256], i: s32[]) -> f32[64,256] {
  %p = f32[64,256]{1,0} parameter(0)
  %q = f32[1,256]{1,0} parameter(1)
  %i = s32[] parameter(2)
  ROOT %u = f32[64,256]{1,0} dynamic-update-slice(%p, %q, %i, %i)
}"""
NESTED = """%inner (a: f32[64,256], i: s32[]) -> f32[1,256] {
  %a = f32[64,256]{1,0} parameter(0)
  %i = s32[] parameter(1)
  ROOT %d = f32[1,256]{1,0} dynamic-slice(%a, %i, %i), dynamic_slice_sizes={1,256}
}
%fused (p: f32[64,256], j: s32[]) -> f32[1,256] {
  %p = f32[64,256]{1,0} parameter(0)
  %j = s32[] parameter(1)
  ROOT %f = f32[1,256]{1,0} fusion(%p, %j), kind=kLoop, calls=%inner
}"""


@pytest.mark.parametrize(
    ("computation", "operands", "result", "expected"),
    [
        pytest.param(FUSED_SLICE, "%w", "f32[1,256]{1,0}", 2 * KIB, id="a slice behind elementwise work"),
        pytest.param(FUSED_UPDATE, "%w, %v, %k", "f32[64,256]{1,0}", 2 * KIB + 4, id="an update in place"),
        pytest.param(NESTED, "%w, %k", "f32[1,256]{1,0}", 2 * KIB + 4, id="a slice in a nested fusion"),
    ],
)
def test_a_fusion_moves_what_it_needs(computation, operands, result, expected):
    lines = [
        "%w = f32[64,256]{1,0} broadcast(%x), dimensions={1}",
        "%v = f32[1,256]{1,0} bitcast(%x)",
        "%k = s32[] constant(3)",
        f"ROOT %y = {result} fusion({operands}), kind=kLoop, calls=%fused",
    ]
    parsed = hlo_text.parse(program(lines, computation, root=result))
    entry = parsed.computations[parsed.entry]
    assert traffic_of(entry["y"], entry, parsed).total == expected


BODY = """%body (p: (s32[], f32[256])) -> (s32[], f32[256]) {
  %p = (s32[], f32[256]{0}) parameter(0)
  %i = s32[]{:S(1)} get-tuple-element(%p), index=0
  %a = f32[256]{0} get-tuple-element(%p), index=1
  %b = f32[256]{0} all-reduce(%a), channel_id=7, to_apply=%sum
  ROOT %t = (s32[], f32[256]{0}) tuple(%i, %b)
}"""
CONDITION = """%condition (p: (s32[], f32[256])) -> pred[] {
  %p = (s32[], f32[256]{0}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %n = s32[] constant(5)
  ROOT %lt = pred[] compare(%i, %n), direction=LT
}"""
LOOP = [
    "%t = (s32[], f32[256]{0}) tuple(%zero, %x)",
    "%w = (s32[], f32[256]{0}) while(%t), condition=%condition, body=%body KNOWN",
    "ROOT %r = f32[256]{0} get-tuple-element(%w), index=1",
]


@pytest.mark.parametrize(
    ("known", "condition", "trips", "unknown"),
    [
        (', backend_config={"known_trip_count":{"n":"12"}}', CONDITION, 12, 0),
        ("", CONDITION, 5, 0),
        ("", CONDITION.replace("constant(5)", "parameter(1)"), 2.5, 1),
    ],
)
def test_a_loop_counts_its_trips(known, condition, trips, unknown):
    lines = [line.replace(" KNOWN", known) for line in LOOP]
    totals = total(program(lines, BODY, condition), unknown_trips=2.5)
    assert totals.bytes == trips * 2 * KIB
    assert totals.collectives == {"all-reduce": trips}
    assert totals.collective_bytes == {"all-reduce": trips * KIB}
    assert totals.unknown_loops == unknown


def test_collectives_count_their_larger_side_once_a_channel():
    lines = [
        "%g = (f32[256]{0}, f32[1024]{0}) all-gather-start(%x), channel_id=1, dimensions={0}",
        "%h = f32[1024]{0} all-gather-done(%g)",
        "%s = f32[64]{0} reduce-scatter(%x), channel_id=2, dimensions={0}, to_apply=%sum",
        "%c = (f32[256]{0}, f32[256]{0}, u32[], u32[]) collective-permute-start(%x), channel_id=3",
        "%f = f32[256]{0} fusion(%x), kind=kCustom, calls=%fused",
        "%f2 = f32[256]{0} fusion(%x), kind=kCustom, calls=%fused",
        "ROOT %d = f32[256]{0} collective-permute-done(%c)",
    ]
    fused = """%fused (p: f32[256]) -> f32[256] {
  %p = f32[256]{0} parameter(0)
  ROOT %r = f32[256]{0} all-reduce(%p), channel_id=4, to_apply=%sum
}"""
    totals = total(program(lines, fused))
    once = {"all-gather": 1, "reduce-scatter": 1, "collective-permute": 1, "all-reduce": 1}
    assert totals.collectives == once
    assert totals.collective_bytes == {
        "all-gather": 4 * KIB,
        "reduce-scatter": KIB,
        "collective-permute": KIB,
        "all-reduce": KIB,
    }


def test_collectives_of_one_channel_outside_of_fusions_count_each():
    lines = [
        "%c = f32[256]{0} collective-permute(%x), channel_id=1, source_target_pairs={{0,1}}",
        "ROOT %d = f32[256]{0} collective-permute(%c), channel_id=1, source_target_pairs={{1,0}}",
    ]
    assert total(program(lines)).collectives == {"collective-permute": 2}


def test_cycles_that_the_compiler_does_not_know_do_not_count():
    lines = ['ROOT %y = f32[256]{0} negate(%x), backend_config={"estimated_cycles":"9223372036854775807"}']
    assert total(program(lines)).cycles == 0


def test_cycles_and_kernels_are_read_from_the_attributes():
    lines = [
        '%k = f32[256]{0} custom-call(%x), custom_call_target="tpu_custom_call"',
        '%c = (f32[256]{0}, s8[4096]{0}) custom-call(%k), custom_call_target="__cublas$gemm"',
        "%g = f32[256]{0} get-tuple-element(%c), index=0",
        'ROOT %y = f32[256]{0} negate(%g), backend_config={"estimated_cycles":"123"}',
    ]
    totals = total(program(lines))
    assert totals.cycles == 123
    assert totals.custom_calls == {"tpu_custom_call": 1, "__cublas$gemm": 1}
    assert totals.bytes == 3 * 2 * KIB  # no scratch space


def test_a_branch_costs_as_much_as_the_dearest():
    branches = [
        f"""%branch{n} (p: f32[256]) -> f32[256] {{
  %p = f32[256]{{0}} parameter(0)
  ROOT %r = f32[256]{{0}} {code}
}}"""
        for n, code in enumerate(("negate(%p)", "add(%p, %p)"))
    ]
    lines = [
        "ROOT %y = f32[256]{0} conditional(%i, %x, %x), branch_computations={%branch0, %branch1}",
    ]
    assert total(program(lines, *branches)).bytes == 3 * KIB


def test_a_text_without_an_entry_is_refused():
    with pytest.raises(ValueError, match="has an entry computation, got 'nothing'; pass its HLO text"):
        hlo_text.parse("nothing")


def compiled(f, *arrays):
    """The text of a compiled program for arrays of shapes, or for one with a sharding."""
    shapes = (jax.ShapeDtypeStruct(a, jnp.float32) if isinstance(a, tuple) else a for a in arrays)
    return str(jax.jit(f).lower(*shapes).compile().as_text())


def test_bytes_of_compiled_programs():
    assert total(compiled(lambda x: 2 * x + 1, (1024,))).bytes == 8 * KIB
    assert total(compiled(lambda a, b: a @ b, (64, 32), (32, 16))).bytes == 4 * (64 * 32 + 32 * 16 + 64 * 16)


def test_a_compiled_loop_costs_its_trips():
    """Each trip of c ← sin c reads the array once and writes it once, and updates a counter."""

    def cost(trips):
        return total(
            compiled(lambda c: jax.lax.scan(lambda c, _: (jnp.sin(c), None), c, length=trips)[0], (128, 128))
        ).bytes

    assert cost(13) - cost(3) == pytest.approx(10 * 2 * 4 * 128 * 128, rel=1e-3)


def test_collectives_of_a_compiled_program():
    mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.NamedSharding(mesh, jax.P("x"))
    array = jax.ShapeDtypeStruct((64, 32), jnp.float32, sharding=rows)
    f = jax.shard_map(lambda a: jax.lax.psum(a, "x"), mesh=mesh, in_specs=jax.P("x"), out_specs=jax.P())
    totals = total(compiled(f, array))
    assert totals.collectives == {"all-reduce": 1}
    assert totals.collective_bytes == {"all-reduce": 4 * 8 * 32}
