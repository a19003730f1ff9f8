"""Vectors of sixteen numbers whose width belongs to the code and not to the machine.

A kernel written with them gives the same bits on SSE2, AVX2 and AVX-512: LLVM splits or pairs registers, and every lane
sees the same IEEE operations in the same order. Nothing here is contracted, reordered or approximated: a fused
multiply-add happens where `fma` is written and nowhere else.

Each operation exists twice: lowered to LLVM for compiled kernels, and as a twin in plain numpy for runs with the JIT
off (debugging, coverage). The twins compute the same formulas, but their `fma` rounds twice, so bits may differ.

Element types: float32, float64, their integer counterparts int32, int64, and booleans (results of comparisons).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from kdrun.core.jit import JIT_DISABLED, shared

LANES = 16


@shared
def width(units: int) -> int:
    """P: the next multiple of the vector width, the number of units that kernels work with."""
    return -(-units // LANES) * LANES


_LLVM_ELEMENT = {
    types.float32: ir.FloatType(),
    types.float64: ir.DoubleType(),
    types.int32: ir.IntType(32),
    types.int64: ir.IntType(64),
    types.boolean: ir.IntType(1),
}
_INTEGER_OF: dict[Any, Any] = {types.float32: types.int32, types.float64: types.int64}
_FLOAT_OF: dict[Any, Any] = {types.int32: types.float32, types.int64: types.float64}
_SUFFIX = {types.float32: "f32", types.float64: "f64"}


class VectorType(types.Type):
    """Numba's type of a vector of `LANES` elements."""

    def __init__(self, dtype: types.Type) -> None:
        self.dtype = dtype
        super().__init__(name=f"Vector({dtype}x{LANES})")


@register_model(VectorType)
class VectorModel(models.PrimitiveModel):
    """In machine code it is a vector of LLVM, so that it lives in registers."""

    def __init__(self, dmm: Any, fe_type: VectorType) -> None:
        super().__init__(dmm, fe_type, _llvm(fe_type.dtype))


def _llvm(dtype: types.Type) -> ir.VectorType:
    return ir.VectorType(_LLVM_ELEMENT[dtype], LANES)


def lowered(twin: Callable[..., Any], prefer_literal: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Make a Numba intrinsic of the decorated typing-and-lowering function, or its `twin` where the JIT is off.

    With `prefer_literal` the typing sees constants of the code as such.
    """

    def decorate(lowering: Callable[..., Any]) -> Any:
        twin.__doc__ = lowering.__doc__
        return twin if JIT_DISABLED else intrinsic(prefer_literal=prefer_literal)(lowering)

    return decorate


# ------------------------------------------------------------------------------------------------ memory


def element_pointer(context: Any, builder: Any, array_type: Any, array: Any, index_types: Any, indices: Any) -> Any:
    """Pointer to one element of a C-contiguous array, without wraparound; one index for each of its dimensions."""
    structure = context.make_array(array_type)(context, builder, array)
    indices = [context.cast(builder, i, t, types.intp) for i, t in zip(indices, index_types, strict=True)]
    return cgutils.get_item_pointer(context, builder, array_type, structure, indices, wraparound=False)


def vector_pointer(context: Any, builder: Any, array_type: Any, array: Any, index_types: Any, indices: Any) -> Any:
    """Pointer to the vector that begins with one element."""
    pointer = element_pointer(context, builder, array_type, array, index_types, indices)
    return builder.bitcast(pointer, _llvm(array_type.dtype).as_pointer())


def _element_bytes(dtype: Any) -> int:
    return int(dtype.bitwidth) // 8


def _indexed_vector(context: Any, builder: Any, array_type: Any, array: Any, index_type: Any, index: Any) -> Any:
    """Pointer to a vector by an index as it is written: an integer, or a tuple of them."""
    if isinstance(index_type, types.Integer):
        return vector_pointer(context, builder, array_type, array, [index_type], [index])
    indices = cgutils.unpack_tuple(builder, index, len(index_type))
    return vector_pointer(context, builder, array_type, array, list(index_type), indices)


def _flat_start(array: Any, index: Any) -> int:
    position = index if isinstance(index, tuple) else (index,)
    return int(np.ravel_multi_index(position, array.shape)) if position != (0,) else 0


def _load_twin(array: Any, index: Any) -> Any:
    start = _flat_start(array, index)
    return array.reshape(-1)[start : start + LANES].copy()


@lowered(_load_twin)
def load(typingctx: Any, array: Any, index: Any) -> Any:
    """Sixteen consecutive elements of a C-contiguous array, from `index` on (an integer or a tuple)."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _indexed_vector(context, builder, sig.args[0], args[0], sig.args[1], args[1])
        return builder.load(pointer, align=_element_bytes(sig.args[0].dtype))

    return VectorType(array.dtype)(array, index), codegen


def _store_twin(array: Any, index: Any, vector: Any) -> None:
    start = _flat_start(array, index)
    array.reshape(-1)[start : start + LANES] = vector


@lowered(_store_twin)
def store(typingctx: Any, array: Any, index: Any, vector: Any) -> Any:
    """Write a vector over sixteen consecutive elements of a C-contiguous array."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _indexed_vector(context, builder, sig.args[0], args[0], sig.args[1], args[1])
        builder.store(args[2], pointer, align=_element_bytes(sig.args[0].dtype))
        return context.get_dummy_value()

    return types.void(array, index, vector), codegen


def _lane_mask(context: Any, builder: Any, count_type: Any, count: Any) -> Any:
    """Boolean vector whose first `count` lanes are set."""
    count = context.cast(builder, count, count_type, types.int32)
    lanes = ir.Constant(_llvm(types.int32), list(range(LANES)))
    return builder.icmp_signed("<", lanes, splat_value(builder, count, types.int32))


def _masked(builder: Any, name: str, result: Any, parameters: list[Any]) -> Any:
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, parameters), name)


def _load_part_twin(array: Any, index: Any, count: int) -> Any:
    start = _flat_start(array, index)
    vector = np.zeros(LANES, array.dtype)
    vector[:count] = array.reshape(-1)[start : start + count]
    return vector


@lowered(_load_part_twin)
def load_part(typingctx: Any, array: Any, index: Any, count: Any) -> Any:
    """The first `count` elements from `index` on in the first lanes, zero in the others. Reads nothing beyond them."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        dtype = sig.args[0].dtype
        vector, element = _llvm(dtype), _SUFFIX[dtype]
        pointer = _indexed_vector(context, builder, sig.args[0], args[0], sig.args[1], args[1])
        mask = _lane_mask(context, builder, sig.args[2], args[2])
        name = f"llvm.masked.load.v{LANES}{element}.p0v{LANES}{element}"
        function = _masked(builder, name, vector, [vector.as_pointer(), ir.IntType(32), mask.type, vector])
        align = ir.Constant(ir.IntType(32), _element_bytes(dtype))
        return builder.call(function, [pointer, align, mask, ir.Constant(vector, [0.0] * LANES)])

    return VectorType(array.dtype)(array, index, count), codegen


def _store_part_twin(array: Any, index: Any, vector: Any, count: int) -> None:
    start = _flat_start(array, index)
    array.reshape(-1)[start : start + count] = vector[:count]


@lowered(_store_part_twin)
def store_part(typingctx: Any, array: Any, index: Any, vector: Any, count: Any) -> Any:
    """Write the first `count` lanes, and touch nothing beyond them."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        dtype = sig.args[0].dtype
        kind, element = _llvm(dtype), _SUFFIX[dtype]
        pointer = _indexed_vector(context, builder, sig.args[0], args[0], sig.args[1], args[1])
        mask = _lane_mask(context, builder, sig.args[3], args[3])
        name = f"llvm.masked.store.v{LANES}{element}.p0v{LANES}{element}"
        parameters = [kind, kind.as_pointer(), ir.IntType(32), mask.type]
        function = _masked(builder, name, ir.VoidType(), parameters)
        align = ir.Constant(ir.IntType(32), _element_bytes(dtype))
        builder.call(function, [args[2], pointer, align, mask])
        return context.get_dummy_value()

    return types.void(array, index, vector, count), codegen


# ------------------------------------------------------------------------------------------------ lanes


def splat_value(builder: Any, value: Any, dtype: types.Type) -> Any:
    """A value of LLVM in every lane of a vector of that element type."""
    vector = _llvm(dtype)
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(first, undefined, zeros)


def _splat_like_twin(value: Any, like: Any) -> Any:
    return np.full(LANES, value, like.dtype)


@lowered(_splat_like_twin)
def splat_like(typingctx: Any, value: Any, like: Any) -> Any:
    """The number `value`, rounded to the element type of `like` (a vector or an array), in every lane."""
    dtype = like.dtype

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        element = context.cast(builder, args[0], sig.args[0], dtype)
        return splat_value(builder, element, dtype)

    return VectorType(dtype)(value, like), codegen


def _splat_by_precision_twin(single: Any, double: Any, like: Any) -> Any:
    return np.full(LANES, single if like.dtype.itemsize == 4 else double, like.dtype)


@lowered(_splat_by_precision_twin)
def splat_by_precision(typingctx: Any, single: Any, double: Any, like: Any) -> Any:
    """`single` in every lane where the elements of `like` have 32 bits, `double` where they have 64."""
    dtype = like.dtype

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        which = 0 if dtype.bitwidth == 32 else 1
        element = context.cast(builder, args[which], sig.args[which], dtype)
        return splat_value(builder, element, dtype)

    return VectorType(dtype)(single, double, like), codegen


def _sum_lanes_twin(vector: Any) -> Any:
    half = LANES // 2
    while half:
        vector = vector[:half] + vector[half : 2 * half]
        half //= 2
    return vector[0]


@lowered(_sum_lanes_twin)
def sum_lanes(typingctx: Any, vector: Any) -> Any:
    """Sum of the lanes by one fixed tree: lane i with lane i + 8, then + 4, + 2, + 1."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        (total,) = args
        half = LANES // 2
        while half:
            low, high = (shuffled(builder, total, total, lanes) for lanes in (range(half), range(half, 2 * half)))
            total = builder.fadd(low, high)
            half //= 2
        return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))

    return vector.dtype(vector), codegen


def shuffled(builder: Any, a: Any, b: Any, lanes: Iterable[int]) -> Any:
    """A vector of LLVM made of lanes of two: those of `a` are counted first, then those of `b`."""
    which = list(lanes)
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(which)), which))


# ------------------------------------------------------------------------------------------------ arithmetic


def call_llvm(builder: Any, name: str, dtype: types.Type, arguments: Any) -> Any:
    """A call of LLVM's function `name` on vectors of one element type."""
    vector = _llvm(dtype)
    function_type = ir.FunctionType(vector, [vector] * len(arguments))
    full_name = f"llvm.{name}.v{LANES}{_SUFFIX[dtype]}"
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, full_name), arguments)


def _fma_twin(a: Any, b: Any, c: Any) -> Any:
    return a * b + c


@lowered(_fma_twin)
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """a·b + c with one rounding, in every lane."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return call_llvm(builder, "fma", sig.return_type.dtype, args)

    return a(a, b, c), codegen


@lowered(np.sqrt)
def square_root(typingctx: Any, a: Any) -> Any:
    """The correctly rounded square root of every lane."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return call_llvm(builder, "sqrt", sig.return_type.dtype, args)

    return a(a), codegen


@lowered(np.abs)
def absolute(typingctx: Any, a: Any) -> Any:
    """The absolute value of every lane, by its sign bit."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return call_llvm(builder, "fabs", sig.return_type.dtype, args)

    return a(a), codegen


@lowered(np.copysign)
def copy_sign(typingctx: Any, magnitude: Any, sign: Any) -> Any:
    """The magnitude of the first with the sign bit of the second, in every lane."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return call_llvm(builder, "copysign", sig.return_type.dtype, args)

    return magnitude(magnitude, sign), codegen


def _select_twin(condition: Any, yes: Any, no: Any) -> Any:
    return np.where(condition, yes, no)


@lowered(_select_twin)
def select(typingctx: Any, condition: Any, yes: Any, no: Any) -> Any:
    """`yes` in the lanes where `condition` holds, else `no`."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(*args)

    return yes(condition, yes, no), codegen


def _as_integers_twin(a: Any) -> Any:
    return a.view(np.int32 if a.dtype == np.float32 else np.int64)


@lowered(_as_integers_twin)
def as_integers(typingctx: Any, a: Any) -> Any:
    """The bits of a float vector, read as integers of the same width."""
    result = VectorType(_INTEGER_OF[a.dtype])

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], _llvm(result.dtype))

    return result(a), codegen


def _as_floats_twin(a: Any) -> Any:
    return a.view(np.float32 if a.dtype == np.int32 else np.float64)


@lowered(_as_floats_twin)
def as_floats(typingctx: Any, a: Any) -> Any:
    """The bits of an integer vector, read as floats of the same width."""
    result = VectorType(_FLOAT_OF[a.dtype])

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], _llvm(result.dtype))

    return result(a), codegen


def _widened_twin(a: Any) -> Any:
    return a.astype(np.float64)


@lowered(_widened_twin)
def widened(typingctx: Any, a: Any) -> Any:
    """A vector of floats in float64, without rounding."""
    result = VectorType(types.float64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return args[0] if a.dtype == types.float64 else builder.fpext(args[0], _llvm(result.dtype))

    return result(a), codegen


# ------------------------------------------------------------------------------------------------ operators


def _both_vectors(args: Any) -> bool:
    return len(args) == 2 and isinstance(args[0], VectorType) and args[0] == args[1]


def _register_operator(python_operator: Any, accepts: tuple[Any, ...], returns_mask: bool, emit: Any) -> None:
    """Teach Numba `python_operator` between two vectors of an element type in `accepts`."""

    @infer_global(python_operator)
    class Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            if kws or not _both_vectors(args) or args[0].dtype not in accepts:
                return None
            return signature(VectorType(types.boolean) if returns_mask else args[0], *args)

    @lower_builtin(python_operator, VectorType, VectorType)  # type: ignore[untyped-decorator]
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return emit(builder, sig.args[0].dtype in _SUFFIX, args[0], args[1])


_FLOATS = (types.float32, types.float64)
_INTEGERS = (types.int32, types.int64)


def _register_operators() -> None:
    def arithmetic(float_name: str, integer_name: str) -> Any:
        def emit(builder: Any, is_float: bool, a: Any, b: Any) -> Any:
            return getattr(builder, float_name if is_float else integer_name)(a, b)

        return emit

    def comparison(sign: str) -> Any:
        def emit(builder: Any, is_float: bool, a: Any, b: Any) -> Any:
            compare = builder.icmp_signed if not is_float else builder.fcmp_ordered
            if is_float and sign == "!=":
                compare = builder.fcmp_unordered
            return compare(sign, a, b)

        return emit

    _register_operator(operator.add, _FLOATS + _INTEGERS, False, arithmetic("fadd", "add"))
    _register_operator(operator.sub, _FLOATS + _INTEGERS, False, arithmetic("fsub", "sub"))
    _register_operator(operator.mul, _FLOATS, False, arithmetic("fmul", "mul"))
    _register_operator(operator.truediv, _FLOATS, False, arithmetic("fdiv", "sdiv"))
    _register_operator(operator.lshift, _INTEGERS, False, lambda builder, _, a, b: builder.shl(a, b))
    _register_operator(operator.rshift, _INTEGERS, False, lambda builder, _, a, b: builder.ashr(a, b))
    bitwise = (*_INTEGERS, types.boolean)
    _register_operator(operator.and_, bitwise, False, lambda builder, _, a, b: builder.and_(a, b))
    _register_operator(operator.or_, bitwise, False, lambda builder, _, a, b: builder.or_(a, b))
    _register_operator(operator.xor, bitwise, False, lambda builder, _, a, b: builder.xor(a, b))
    for python_operator, sign in (
        (operator.lt, "<"),
        (operator.le, "<="),
        (operator.gt, ">"),
        (operator.ge, ">="),
        (operator.eq, "=="),
        (operator.ne, "!="),
    ):
        _register_operator(python_operator, _FLOATS + _INTEGERS, True, comparison(sign))


_register_operators()
