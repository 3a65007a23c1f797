"""A vector of 16 float32 for numba, so that kernels are written as formulas and compile to SIMD.

LLVM maps it to what the processor has: one AVX-512 register, two AVX2 or four SSE or NEON ones.
Operators mix vectors and scalars; comparisons give a mask for `where` and `bits`.
"""

import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import numba
import numba.core.cgutils
import numba.core.typing.templates
import numba.extending
from llvmlite import ir  # type: ignore[import-untyped]

from kdst_core.bench.compression import name_kernels_without_zlib

_numba: Any = numba  # its type hints are too few to check against
name_kernels_without_zlib()
types, cgutils = _numba.core.types, _numba.core.cgutils
_templates, _extending = _numba.core.typing.templates, _numba.extending
_Type: Any = types.Type
_Template: Any = _templates.AbstractTemplate
_Model: Any = _extending.models.PrimitiveModel

LANES = 16
_F32 = ir.FloatType()
_I32 = ir.IntType(32)
_VEC = ir.VectorType(_F32, LANES)
_INT_VEC = ir.VectorType(_I32, LANES)
_MASK = ir.VectorType(ir.IntType(1), LANES)
_CONTRACT = ("contract",)


def intrinsic(function: Callable[..., Any]) -> Any:
    """Make a function of types and a code generator callable in kernels."""
    return _extending.intrinsic(function)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile `function` on first use, keep the machine code on disk where that can be written, run
    it without the GIL."""
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
    try:
        return _numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba finds no directory that it may write to
        return _numba.njit(**options)(function)


def kept_on_disk(compiled: Any) -> bool:
    """Return whether the machine code of a kernel is kept for later processes."""
    return getattr(compiled._cache, "cache_path", None) is not None


def inlined(function: Callable[..., Any]) -> Any:
    """A formula used inside kernels, merged into every caller.

    Left to LLVM, a large one stays a function of its own, and a process that compiles calls another
    copy of it than one that loads the kernel from disk: the same formula, rounded differently.
    """
    options = {"error_model": "numpy", "fastmath": {"contract"}, "forceinline": True}
    return _numba.njit(**options)(function)


class _Vector(_Type):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(name="float32x16")


class _Mask(_Type):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(name="bool1x16")


vector, mask = _Vector(), _Mask()


class _VectorModel(_Model):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VEC)


class _MaskModel(_Model):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _MASK)


_extending.register_model(_Vector)(_VectorModel)
_extending.register_model(_Mask)(_MaskModel)


def _broadcast(builder: Any, scalar: Any) -> Any:
    """A scalar IR value in all 16 lanes."""
    undefined = ir.Constant(ir.VectorType(scalar.type, LANES), ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(_INT_VEC, [0] * LANES))


def _constant(value: float) -> Any:
    return ir.Constant(_VEC, [float(value)] * LANES)


def _as_vector(builder: Any, value: Any, kind: Any) -> Any:
    return value if kind is vector else _broadcast(builder, value)


def _compare(symbol: str, builder: Any, x: Any, y: Any) -> Any:
    return builder.fcmp_ordered(symbol, x, y)


def _define_operator(function: Any, emit: Callable[[Any, Any, Any], Any], result: Any) -> None:
    """Teach numba `vector op vector`, `vector op float` and `float op vector`."""

    class Typing(_Template):  # type: ignore[misc]
        def generic(self, args: Any, kws: Any) -> Any:
            numbers = (types.Float, types.Integer)
            if len(args) == 2 and vector in args:
                kinds = [a if a is vector else types.float32 for a in args]
                if all(a is vector or isinstance(a, numbers) for a in args):
                    return _templates.signature(result, *kinds)
            return None

    _templates.infer_global(function)(Typing)
    for pair in ((vector, vector), (vector, types.float32), (types.float32, vector)):

        def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            a, b = (_as_vector(builder, v, k) for v, k in zip(args, sig.args, strict=True))
            return emit(builder, a, b)

        _extending.lower_builtin(function, *pair)(lower)


_define_operator(operator.add, lambda b, x, y: b.fadd(x, y, flags=_CONTRACT), vector)
_define_operator(operator.sub, lambda b, x, y: b.fsub(x, y, flags=_CONTRACT), vector)
_define_operator(operator.mul, lambda b, x, y: b.fmul(x, y, flags=_CONTRACT), vector)
_define_operator(operator.truediv, lambda b, x, y: b.fdiv(x, y), vector)
for _function, _symbol in ((operator.ge, ">="), (operator.gt, ">"), (operator.le, "<=")):
    _define_operator(_function, partial(_compare, _symbol), mask)


class _AndTyping(_Template):  # type: ignore[misc]
    def generic(self, args: Any, kws: Any) -> Any:
        return _templates.signature(mask, mask, mask) if tuple(args) == (mask, mask) else None


_templates.infer_global(operator.and_)(_AndTyping)
_extending.lower_builtin(operator.and_, mask, mask)(
    lambda context, builder, sig, args: builder.and_(*args)
)


def _pointer(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _VEC.as_pointer())


@intrinsic
def load(typing: Any, array: Any, index: Any) -> Any:
    """16 consecutive floats of a contiguous array, from flat position `index`."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(_pointer(context, builder, sig.args[0], *args), align=4)

    return vector(array, types.intp), codegen


@intrinsic
def store(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """Write 16 consecutive floats of a contiguous array, from flat position `index`."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, sig.args[0], args[0], args[1])
        builder.store(args[2], pointer, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen


@intrinsic
def splat(typing: Any, value: Any) -> Any:
    """A scalar in all lanes."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _broadcast(builder, args[0])

    return vector(types.float32), codegen


@intrinsic
def iota(typing: Any) -> Any:
    """(0, 1, …, 15)."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(_VEC, [float(i) for i in range(LANES)])

    return vector(), codegen


@intrinsic
def where(typing: Any, condition: Any, yes: Any, no: Any) -> Any:
    """`yes` in the lanes where the mask holds, `no` elsewhere."""
    kinds = [k if k is vector else types.float32 for k in (yes, no)]

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a, b = (_as_vector(builder, v, k) for v, k in zip(args[1:], sig.args[1:], strict=True))
        return builder.select(args[0], a, b)

    return vector(mask, *kinds), codegen


@intrinsic
def bits(typing: Any, condition: Any) -> Any:
    """The mask as an integer, lane 0 in bit 0."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.zext(builder.bitcast(args[0], ir.IntType(LANES)), ir.IntType(64))

    return types.int64(mask), codegen


@intrinsic
def lowest_bit(typing: Any, value: Any) -> Any:
    """Position of the lowest set bit of a non-zero integer."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), codegen


def _unary(name: str) -> Any:
    """A vector function that LLVM has as an intrinsic."""

    @intrinsic
    def apply(typing: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            kind = ir.FunctionType(_VEC, [_VEC])
            function = cgutils.get_or_insert_function(builder.module, kind, name + ".v16f32")
            return builder.call(function, args)

        return vector(vector), codegen

    return apply


sqrt, absolute = _unary("llvm.sqrt"), _unary("llvm.fabs")


def _extremum(symbol: str) -> Any:
    @intrinsic
    def apply(typing: Any, a: Any, b: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            x, y = (_as_vector(builder, v, k) for v, k in zip(args, sig.args, strict=True))
            return builder.select(builder.fcmp_ordered(symbol, x, y), x, y)

        return vector(vector, b if b is vector else types.float32), codegen

    return apply


minimum, maximum = _extremum("<"), _extremum(">")

# 2^f on [-1/2, 1/2]: minimax polynomial, relative error 7.5e-8 before rounding.
_EXP2 = (1.00000007, 0.693146967, 0.240221197, 0.0555071327, 0.00967554133, 0.00132764718)
_ROUND = 12582912.0  # 1.5 · 2^23: adding it rounds to the nearest integer


@intrinsic
def exp2(typing: Any, value: Any) -> Any:
    """2^x; right for -126 <= x <= 127, an arbitrary value outside."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        shifted = builder.fadd(args[0], _constant(_ROUND))
        f = builder.fsub(args[0], builder.fsub(shifted, _constant(_ROUND)))
        p = _constant(_EXP2[-1])
        for coefficient in reversed(_EXP2[:-1]):
            p = builder.fadd(
                builder.fmul(p, f, flags=_CONTRACT), _constant(coefficient), flags=_CONTRACT
            )
        shift = ir.Constant(_INT_VEC, [23] * LANES)
        exponent = builder.shl(builder.bitcast(shifted, _INT_VEC), shift)
        return builder.bitcast(builder.add(builder.bitcast(p, _INT_VEC), exponent), _VEC)

    return vector(vector), codegen


@intrinsic
def exponent_mantissa(typing: Any, value: Any) -> Any:
    """(e, m) with value = 2^e · m and sqrt(1/2) <= m < sqrt(2), for positive normal values."""
    pair = types.UniTuple(vector, 2)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        raw = builder.bitcast(args[0], _INT_VEC)
        base = ir.Constant(_INT_VEC, [0x3F3504F3] * LANES)  # sqrt(1/2)
        mantissa_bits = ir.Constant(_INT_VEC, [23] * LANES)
        exponent = builder.ashr(builder.sub(raw, base), mantissa_bits)
        mantissa = builder.sub(raw, builder.shl(exponent, mantissa_bits))
        both = (builder.sitofp(exponent, _VEC), builder.bitcast(mantissa, _VEC))
        return context.make_tuple(builder, sig.return_type, both)

    return pair(vector), codegen


@inlined
def log2(value):  # type: ignore[no-untyped-def]
    """log2 of positive normal values, absolute error about 1e-7 near 1."""
    exponent, m = exponent_mantissa(value)
    t = (m - 1.0) / (m + 1.0)
    s = t * t
    odd = (((s * 0.320598898 + 0.412198583) * s + 0.577078016) * s + 0.961796694) * s + 2.88539008
    return exponent + odd * t


@intrinsic
def sums(typing: Any, vectors: Any) -> Any:
    """The sums over lanes of a tuple of up to 16 vectors, the i-th in lane i (zero beyond)."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        rows = [builder.extract_value(args[0], i) for i in range(len(sig.args[0]))]
        rows += [_constant(0.0)] * (LANES - len(rows))
        # Fold pairs whose indices differ in one bit: after 4 folds, lane i holds the sum of row i.
        for width in (8, 4, 2, 1):
            half = len(rows) // 2
            even = [i + j for i in range(0, LANES, 2 * width) for j in range(width)]
            low = even + [i + LANES for i in even]
            high = [i + width for i in low]
            rows = [
                builder.fadd(
                    builder.shuffle_vector(rows[i], rows[i + half], ir.Constant(_INT_VEC, low)),
                    builder.shuffle_vector(rows[i], rows[i + half], ir.Constant(_INT_VEC, high)),
                )
                for i in range(half)
            ]
        return builder.shuffle_vector(rows[0], rows[0], ir.Constant(_INT_VEC, _lane_of_row()))

    return vector(vectors), codegen


def _lane_of_row() -> list[int]:
    """Where the folds of `sums` leave the total of each row."""
    lanes = [[row] * LANES for row in range(LANES)]
    for width in (8, 4, 2, 1):
        half = len(lanes) // 2
        even = [i + j for i in range(0, LANES, 2 * width) for j in range(width)]
        low = even + [i + LANES for i in even]
        lanes = [[(lanes[i] + lanes[i + half])[j] for j in low] for i in range(half)]
    return [lanes[0].index(row) for row in range(LANES)]
