"""The fused interaction layer in Triton: a few candidates of one request a program."""

# mypy: ignore-errors
# Types here are the language's own, and a kernel's arguments are pointers in a row.

# K = candidates, N = tokens of a candidate (NP padded), G = candidates of a program, R = tokens of the
# request (RP padded), D = width, M = attention heads, E = width of a head, F = width of the
# feed-forward layer, which is computed in blocks of FB

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def interaction_layer(
    x, out, key, value,
    norm1_weight, norm1_bias, project, project_bias, mix, mix_bias,
    norm2_weight, norm2_bias, up, up_bias, down, down_bias,
    K, scale, eps1, eps2,
    N: tl.constexpr, NP: tl.constexpr, G: tl.constexpr, R: tl.constexpr, RP: tl.constexpr,
    D: tl.constexpr, M: tl.constexpr, E: tl.constexpr, F: tl.constexpr, FB: tl.constexpr,
    BF16: tl.constexpr,
):  # fmt: skip
    """Program (b, t) computes candidates t * G .. of request b; the rest is `FusedLayer`'s."""
    request = tl.program_id(0).to(tl.int64)
    row = tl.arange(0, G * NP)
    member, token = row // NP, row % NP
    candidate = tl.program_id(1) * G + member
    real = (token < N) & (candidate < K)
    d, e, r = tl.arange(0, D), tl.arange(0, E), tl.arange(0, RP)
    at = ((request * K + candidate) * N + token)[:, None] * D + d[None, :]
    x_rows = tl.load(x + at, mask=real[:, None], other=0.0).to(tl.float32)

    normed = _narrow(_norm(x_rows, norm1_weight, norm1_bias, eps1, d, D), BF16)
    seen = (member[:, None] == member[None, :]) & (token < N)[None, :]
    attended = tl.zeros([G * NP, D], tl.float32)
    for head in tl.static_range(M):
        channel = head * E + e
        query = _linear(normed, project, project_bias, channel, d, D)
        own_key = _narrow(_linear(normed, project, project_bias, D + channel, d, D), BF16)
        own_value = _narrow(_linear(normed, project, project_bias, 2 * D + channel, d, D), BF16)
        query = _narrow(query * scale, BF16)
        shown = ((request * M + head) * R + r)[:, None] * E + e[None, :]
        their_key = tl.load(key + shown, mask=(r < R)[:, None], other=0.0)
        their_value = tl.load(value + shown, mask=(r < R)[:, None], other=0.0)
        own = tl.where(seen, tl.dot(query, tl.trans(own_key)), float("-inf"))
        theirs = tl.dot(query, tl.trans(_narrow(their_key, BF16)))
        theirs = tl.where((r < R)[None, :], theirs, float("-inf"))
        highest = tl.maximum(tl.max(own, axis=1), tl.max(theirs, axis=1))
        own = tl.exp(own - highest[:, None])
        theirs = tl.exp(theirs - highest[:, None])
        total = tl.sum(own, axis=1) + tl.sum(theirs, axis=1)
        mixed = tl.dot(_narrow(own, BF16), own_value)
        mixed += tl.dot(_narrow(theirs, BF16), _narrow(their_value, BF16))
        mixed = _narrow(mixed / total[:, None], BF16)
        attended += tl.dot(mixed, tl.load(mix + d[None, :] * D + channel[:, None]))
    hidden = x_rows + attended + tl.load(mix_bias + d).to(tl.float32)[None, :]

    normed = _narrow(_norm(hidden, norm2_weight, norm2_bias, eps2, d, D), BF16)
    fed = tl.zeros([G * NP, D], tl.float32)
    for block in tl.static_range(F // FB):
        inner = block * FB + tl.arange(0, FB)
        lifted = _linear(normed, up, up_bias, inner, d, D)
        lifted = 0.5 * lifted * (1.0 + tl.math.erf(lifted * 0.7071067811865476))
        fed += tl.dot(_narrow(lifted, BF16), tl.load(down + d[None, :] * F + inner[:, None]))
    hidden += fed + tl.load(down_bias + d).to(tl.float32)[None, :]
    tl.store(out + at, hidden.to(out.dtype.element_ty), mask=real[:, None])


@triton.jit
def _norm(rows, weight, bias, eps, d, D: tl.constexpr):
    mean = tl.sum(rows, axis=1) / D
    centred = rows - mean[:, None]
    scale = tl.rsqrt(tl.sum(centred * centred, axis=1) / D + eps)
    weighted = centred * scale[:, None] * tl.load(weight + d).to(tl.float32)[None, :]
    return weighted + tl.load(bias + d).to(tl.float32)[None, :]


@triton.jit
def _linear(rows, weight, bias, channel, d, D: tl.constexpr):
    """Output channels of a linear layer whose weight is [output, input = D]."""
    product = tl.dot(rows, tl.load(weight + channel[None, :] * D + d[:, None]))
    return product + tl.load(bias + channel).to(tl.float32)[None, :]


@triton.jit
def _narrow(values, BF16: tl.constexpr):
    """As the tensor cores take them: bfloat16, or float32 which they read as tf32."""
    return values.to(tl.bfloat16) if BF16 else values.to(tl.float32)
