"""Losses and negative sampling (paper, Sec. 3.3); pure functions of tensors."""

import torch
import torch.nn.functional as F
from torch import Tensor

LABEL_SMOOTHING = 0.1
"""Of BLIP's language model, over the whole vocabulary."""
NORMALIZED_EPS = 1e-6
"""Added to a patch's variance, so that a plain patch can be normalised."""


def loss_itm(itm_logits: Tensor, itm_labels: Tensor) -> Tensor:
    """Return image-text matching's cross entropy, the mean over all pairs (Eq. 3).

    Args:
        itm_logits: ``(3B, 2)``, class 1 is a match.
        itm_labels: ``(3B,)`` int64.

    Returns:
        Scalar, float32.
    """
    return F.cross_entropy(itm_logits.float(), itm_labels)


def loss_tmim(reconstruction: Tensor, target: Tensor) -> Tensor:
    """Return the squared error on the masked patches, the mean over everything.

    Eq. 4 sums over a patch's pixels instead; the published code and this one take the mean, 3p² times less.

    Args:
        reconstruction: ``(B, M, 3p²)``.
        target: ``(B, M, 3p²)``.

    Returns:
        Scalar, float32.
    """
    return F.mse_loss(reconstruction.float(), target.float())


def loss_mean_colour(visible: Tensor, target: Tensor) -> Tensor:
    """Return what TMIM's loss would be for a decoder that knows no more than each image's mean colour.

    Args:
        visible: Visible patches in the target's units, ``(B, V, 3p²)``.
        target: Masked patches, ``(B, M, 3p²)``, all painted in the mean colour of the visible ones.

    Returns:
        Scalar, float32.
    """
    seen, hidden = (patches.float().reshape(len(patches), -1, 3) for patches in (visible, target))
    return F.mse_loss(seen.mean(dim=1, keepdim=True).expand_as(hidden), hidden)


def normalize_patches(patches: Tensor, eps: float = NORMALIZED_EPS) -> Tensor:
    """Give each patch zero mean and unit variance (MAE's target; an option here), ``(B, M, 3p²)``."""
    patches = patches.float()
    variance = patches.var(dim=-1, keepdim=True)
    return (patches - patches.mean(dim=-1, keepdim=True)) / (variance + eps).sqrt()


def loss_candidates(candidate_logits: Tensor, target_index: Tensor) -> Tensor:
    """Return the cross entropy over the candidates of each query, the mean over queries.

    Args:
        candidate_logits: ``(B, K)``, -inf at padded candidates.
        target_index: ``(B,)`` int64.

    Returns:
        Scalar, float32.
    """
    return F.cross_entropy(candidate_logits.float(), target_index)


def loss_itc(
    image_features: Tensor, text_features: Tensor, temperature: Tensor, same_image: Tensor
) -> Tensor:
    """Return the symmetric image-text contrastive loss; captions of one image share the target.

    Args:
        image_features: Unit norm, ``(B, E)``.
        text_features: Unit norm, ``(B, E)``.
        temperature: Scalar.
        same_image: True where row and column belong to the same image, diagonal included, ``(B, B)`` bool.

    Returns:
        Scalar, float32.
    """
    sim_i2t = image_features.float() @ text_features.float().T / temperature
    targets = same_image.float() / same_image.sum(dim=1, keepdim=True)
    return (F.cross_entropy(sim_i2t, targets) + F.cross_entropy(sim_i2t.T, targets)) / 2


@torch.no_grad()
def negative_weights(
    sim: Tensor, same_image: Tensor | None = None, temperature: float | Tensor = 1.0, first: int = 0
) -> Tensor:
    """Return the probabilities, up to a factor, with which each row draws its negative.

    ``softmax(sim / temperature) + 1e-4`` in fp32 with the row's own pair set to zero, so that half precision
    can never leave nothing to draw from.

    Args:
        sim: Similarities of unit-norm features, ``(B, C)``, C = B where only the batch itself is drawn from.
        same_image: Pairs never to be drawn, ``(B, C)`` bool; ``None``: a row's own pair only. A row where
            nothing would be left, or with a similarity that is no number, falls back to all others,
            uniformly.
        temperature: Divides the similarities; the published code has none.
        first: Column of the first row's own pair; those of the other rows follow it.

    Returns:
        ``(B, C)`` float32, zero at the own pairs.
    """
    rows, columns = (torch.arange(size, device=sim.device) for size in sim.shape)
    own = rows[:, None] + first == columns
    excluded = own if same_image is None else own | same_image
    weights = (sim.float() / temperature).softmax(dim=1) + 1e-4
    weights = weights.masked_fill(excluded, 0.0)
    uniform = excluded.all(dim=1, keepdim=True) | ~weights.isfinite().all(dim=1, keepdim=True)
    return torch.where(uniform, (~own).float(), weights)


def loss_lm(token_logits: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Return the cross entropy of each next token with BLIP's label smoothing (Li et al., 2022, Sec. 3.2).

    Args:
        token_logits: ``(N, L, vocabulary)``.
        input_ids: The tokens themselves, the first never predicted, ``(N, L)`` int64.
        attention_mask: 1 at tokens, 0 at padding, ``(N, L)``.

    Returns:
        Mean over the predicted tokens, scalar float32.
    """
    predicted = attention_mask[:, 1:].bool()
    return F.cross_entropy(
        token_logits[:, :-1][predicted].float(), input_ids[:, 1:][predicted], label_smoothing=LABEL_SMOOTHING
    )
