"""Real spherical harmonics up to degree 3 as polynomials, for torch tensors and SIMD vectors.

Order and signs are those of the 3DGS paper's code and of gsplat.
"""

from typing import Any

C0 = 0.28209479177387814
C1 = 0.4886025119029199
C2 = (1.0925484305920792, 0.31539156525252005, 0.5462742152960396)
C3 = (
    0.5900435899266435,
    2.890611442640554,
    0.4570457994644658,
    0.3731763325901154,
    1.445305721320277,
)
MAX_DEGREE = 3


def basis_1(x: Any, y: Any, z: Any) -> Any:
    """The three functions of degree 1 at the unit direction (x, y, z)."""
    return (y * -C1, z * C1, x * -C1)


def basis_2(x: Any, y: Any, z: Any) -> Any:
    """The five functions of degree 2."""
    xx, yy, zz = x * x, y * y, z * z
    return (
        x * y * C2[0],
        y * z * -C2[0],
        (zz * 2.0 - xx - yy) * C2[1],
        x * z * -C2[0],
        (xx - yy) * C2[2],
    )


def basis_3(x: Any, y: Any, z: Any) -> Any:
    """The seven functions of degree 3."""
    xx, yy, zz = x * x, y * y, z * z
    outer = zz * 4.0 - xx - yy
    return (
        y * (xx * 3.0 - yy) * -C3[0],
        x * y * z * C3[1],
        y * outer * -C3[2],
        z * (zz * 2.0 - xx * 3.0 - yy * 3.0) * C3[3],
        x * outer * -C3[2],
        z * (xx - yy) * C3[4],
        x * (xx - yy * 3.0) * -C3[0],
    )


def gradient_1(s: Any) -> Any:
    """Gradient by (x, y, z) of the sum of the degree-1 functions weighted by `s` (3 values)."""
    return s[2] * -C1, s[0] * -C1, s[1] * C1


def gradient_2(s: Any, x: Any, y: Any, z: Any) -> Any:
    """Gradient by (x, y, z) of the sum of the degree-2 functions weighted by `s` (5 values)."""
    a, b, c, d, e = s[0] * C2[0], s[1] * -C2[0], s[2] * (2.0 * C2[1]), s[3] * -C2[0], s[4]
    return (
        y * a - x * c + z * d + x * e * (2.0 * C2[2]),
        x * a + z * b - y * c - y * e * (2.0 * C2[2]),
        y * b + z * c * 2.0 + x * d,
    )


def gradient_3(s: Any, x: Any, y: Any, z: Any) -> Any:
    """Gradient by (x, y, z) of the sum of the degree-3 functions weighted by `s` (7 values)."""
    xx, yy, zz = x * x, y * y, z * z
    xy, yz, xz = x * y, y * z, x * z
    a, b, c, d = s[0] * -C3[0], s[1] * C3[1], s[2] * -C3[2], s[3] * C3[3]
    e, f, g = s[4] * -C3[2], s[5] * C3[4], s[6] * -C3[0]
    return (
        xy * a * 6.0
        + yz * b
        - xy * c * 2.0
        - xz * d * 6.0
        + (zz * 4.0 - xx * 3.0 - yy) * e
        + xz * f * 2.0
        + (xx - yy) * g * 3.0,
        (xx - yy) * a * 3.0
        + xz * b
        + (zz * 4.0 - xx - yy * 3.0) * c
        - yz * d * 6.0
        - xy * e * 2.0
        - yz * f * 2.0
        - xy * g * 6.0,
        xy * b + yz * c * 8.0 + (zz * 2.0 - xx - yy) * d * 3.0 + xz * e * 8.0 + (xx - yy) * f,
    )
