"""Operators of transformers, whole layers in one node since opset 23."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .node import Node, operator


def _heads(x: Tensor, count: int | None) -> Tensor:
    """[N, tokens, heads * size] as [N, heads, tokens, size]; what has four dimensions is that already."""
    if x.dim() == 4:
        return x
    if not count:
        raise ValueError("the number of heads is missing")
    return x.reshape(*x.shape[:2], count, -1).transpose(1, 2)


def _allowed(node: Node, mask: Tensor | None, q: Tensor, k: Tensor, before: int) -> Tensor | None:
    """What is added to the products of queries and keys, or a bool mask of those that count."""
    if mask is not None and mask.shape[-1] < k.shape[2]:  # keys beyond the mask do not count, since opset 24
        fill = 0.0 if mask.dtype == torch.bool else -torch.inf
        mask = F.pad(mask, (0, k.shape[2] - mask.shape[-1]), value=fill)
    if not node.get("is_causal", 0):
        return mask
    causal = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril(before)
    if mask is None:
        return causal
    if mask.dtype == torch.bool:
        return mask & causal
    return mask + torch.zeros_like(causal, dtype=mask.dtype).masked_fill(~causal, -torch.inf)


@operator("Attention")
def attention(
    node: Node,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    past_k: Tensor | None = None,
    past_v: Tensor | None = None,
    counts: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Scaled dot products, with groups of queries that share keys; the second and third output are all keys and values.

    The products themselves, the fourth output, are not given.
    """
    if node.get("softcap", 0.0) or counts is not None or any(node.outputs[3:]):
        raise ValueError("softcap, nonpad_kv_seqlen and the output of the products are not supported")
    flat = q.dim() == 3
    q = _heads(q, node.get("q_num_heads"))
    k, v = (_heads(x, node.get("kv_num_heads")) for x in (k, v))
    before = 0
    if past_k is not None and past_v is not None:
        before = past_k.shape[2]
        k, v = torch.cat([past_k, k], dim=2), torch.cat([past_v, v], dim=2)
    allowed = _allowed(node, mask, q, k, before)
    if allowed is not None and allowed.is_floating_point():
        allowed = allowed.to(q.dtype)
    shared = q.shape[1] != k.shape[1]
    y = F.scaled_dot_product_attention(q, k, v, allowed, scale=node.get("scale"), enable_gqa=shared)
    y = y.transpose(1, 2).flatten(2) if flat else y
    return (y, k, v)[: len(node.outputs)]


@operator("RotaryEmbedding")
def rotary_embedding(node: Node, x: Tensor, cos: Tensor, sin: Tensor, places: Tensor | None = None) -> Tensor:
    """Pairs of numbers turned by an angle of their place: neighbours, or the halves of what is turned."""
    flat = x.dim() == 3
    turned = _heads(x, node.get("num_heads"))
    if places is not None:
        cos, sin = (F.embedding(places, table) for table in (cos, sin))
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    size = 2 * cos.shape[-1]
    part, rest = turned[..., :size], turned[..., size:]
    if node.get("interleaved", 0):
        one, other = part[..., ::2], part[..., 1::2]
        part = torch.stack([one * cos - other * sin, one * sin + other * cos], dim=-1).flatten(-2)
    else:
        one, other = part.chunk(2, dim=-1)
        part = torch.cat([one * cos - other * sin, one * sin + other * cos], dim=-1)
    y = torch.cat([part, rest], dim=-1)
    return y.transpose(1, 2).flatten(2) if flat else y
