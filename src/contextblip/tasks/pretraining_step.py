"""The forward passes of pre-training: matching, text-guided masking, reconstruction (paper, Sec. 3.3)."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from contextblip.draws import Uniform, drawn_anywhere
from contextblip.losses import loss_itm, loss_mean_colour, loss_tmim, normalize_patches
from contextblip.models.contextblip import ContextBLIP
from contextblip.models.masking import MaskPolicy, PatchMask, patch_attention, refine_attention
from contextblip.models.mim_decoder import take_patches
from contextblip.models.vision_encoder import patchify
from contextblip.tasks.matching import Negatives, draw_negatives, matching_labels, matching_pairs
from contextblip.tasks.negatives_watch import fallbacks
from contextblip.tasks.peers import Peers, Pool

VisiblePixels = Callable[[Tensor], Tensor]


class PretrainingOutput(NamedTuple):
    """Every intermediate of a pre-training step; what belongs to TMIM is ``None`` without a decoder.

    Attributes:
        image_embeds: After the adapter, ``(B, 1 + P, D)``.
        image_features: Before the adapter, unit norm, ``(B, E)``.
        text_embeds: Text-only states, ``(B, L, D)`` where the decoder reads them, else [CLS], ``(B, 1, D)``.
        text_features: Unit norm, ``(B, E)``.
        sim_i2t: Cosine similarities with the C pairs negatives are drawn from, row = image, ``(B, C)``.
        sim_t2i: The same, row = text, ``(B, C)``.
        multimodal_embeds: Fused states of the positive pairs, ``(B, L, D)``; none without a decoder.
        itm_logits: Positives, texts with negative images, images with negative texts, ``(3B, 2)``; a batch
            of one has its positive only.
        itm_labels: ``(3B,)`` int64.
        loss: Sum of the losses (Eq. 5), scalar.
        loss_itm: Eq. 3, scalar.
        loss_tmim: Eq. 4, as a mean, scalar.
        loss_mean_colour: What Eq. 4 is where the mean colour of the visible patches is all one knows, scalar.
        attention: Averaged cross-attention of the positive pairs, detached, ``(B, L, 1 + P)``.
        row_attention: The driving token's attention to the patches, after refinement, ``(B, P)``.
        mask: The final mask.
        visible_embeds: Visible patches after the adapter, [CLS] first, ``(B, 1 + P - M, D)``.
        reconstruction: Of the masked patches, in ``mask.ids_mask`` order, ``(B, M, 3p²)``.
        target: What they are in the network's input, ``(B, M, 3p²)``.
        fell_back: How the negatives could not be drawn, see `negatives_watch.fallbacks`.
    """

    image_embeds: Tensor
    image_features: Tensor
    text_embeds: Tensor
    text_features: Tensor
    sim_i2t: Tensor
    sim_t2i: Tensor
    multimodal_embeds: Tensor
    itm_logits: Tensor
    itm_labels: Tensor
    loss: Tensor
    loss_itm: Tensor
    loss_tmim: Tensor | None = None
    loss_mean_colour: Tensor | None = None
    attention: Tensor | None = None
    row_attention: Tensor | None = None
    mask: PatchMask | None = None
    visible_embeds: Tensor | None = None
    reconstruction: Tensor | None = None
    target: Tensor | None = None
    fell_back: Tensor | None = None


def pretraining_forward(
    model: ContextBLIP,
    images: Tensor,
    input_ids: Tensor,
    attention_mask: Tensor,
    *,
    policy: MaskPolicy,
    image_id: Tensor | None = None,
    temperature: float | Tensor = 1.0,
    peers: Peers | None = None,
    refine_steps: int = 1,
    normalize_pixels: bool = False,
    negatives: tuple[Tensor, Tensor] | None = None,
    token_row: Tensor | None = None,
    noise: Tensor | None = None,
    visible_pixels: VisiblePixels | None = None,
    uniform: Uniform | None = None,
) -> PretrainingOutput:
    """Run one pre-training step; what is random can be given instead of drawn.

    Args:
        model: Without a decoder TMIM is left out.
        images: Normalised pixels, ``(B, 3, H, W)``.
        input_ids: [CLS] first, ``(B, L)`` int64.
        attention_mask: 1 at tokens, 0 at padding, ``(B, L)``.
        policy: How attention becomes a mask.
        image_id: Pairs in which it is equal never become negatives, ``(B,)`` int64; ``None``: all may.
        temperature: Divides the similarities from which negatives are drawn.
        peers: The processes from whose pairs, W·B in all, negatives are drawn; ``None``: this one alone.
        refine_steps: Rankings of the patches, 1 or more; see `choose_mask`.
        normalize_pixels: Whether each target patch is brought to zero mean and unit variance.
        negatives: Negative image of each text and negative text of each image, rows of all those pairs, each
            ``(B,)`` int64.
        token_row: Position of the token that drives the mask, ``(B,)`` int64.
        noise: Added to the unit-norm attention, ``(B, P)``.
        visible_pixels: Applied to the visible patches ``(B, V, 3p²)`` before they are encoded, not to the
            target.
        uniform: Draws what is not given; ``None``: torch's generator.

    Returns:
        Every intermediate and the losses.
    """
    uniform = drawn_anywhere(len(images), images.device) if uniform is None else uniform
    given = Negatives(*negatives) if negatives else None
    output = _matching_step(
        model, images, input_ids, attention_mask, policy, image_id, temperature, peers, given, uniform
    )
    if output.attention is None:
        return output
    row_weights = _row_weights(policy, attention_mask, token_row, uniform)
    row_attention = _row_attention(output.attention, row_weights)
    noise = policy.draw_noise(row_attention, uniform) if noise is None else noise
    guidance = Guidance(input_ids, attention_mask, row_weights, noise, uniform)
    encoder = VisibleEncoder(model, patchify(images, model.config.patch_size), visible_pixels)
    row_attention, mask = choose_mask(encoder, policy, row_attention, guidance, refine_steps)
    output = output._replace(row_attention=row_attention, mask=mask)
    return _reconstruction_step(encoder, output, mask, attention_mask, normalize_pixels)


def _matching_step(
    model: ContextBLIP,
    images: Tensor,
    input_ids: Tensor,
    attention_mask: Tensor,
    policy: MaskPolicy,
    image_id: Tensor | None,
    temperature: float | Tensor,
    peers: Peers | None,
    negatives: Negatives | None,
    uniform: Uniform,
) -> PretrainingOutput:
    """Step 1: encode, draw negatives, fuse and classify the pairs."""
    image_embeds, image_features = model.encode_images(images)
    decoder = model.mim_decoder
    with torch.no_grad():  # only for the choice of negatives and as the decoder's alternative context
        text_embeds, text_features = model.encode_text(
            input_ids, attention_mask, whole=decoder is not None and decoder.text == "text"
        )
    size, length = input_ids.shape
    pool = Pool(input_ids, attention_mask, text_features, image_embeds, image_features, image_id, size)
    pool = pool if peers is None else pool.gather(peers)
    sim_t2i, sim_i2t, same_image = pool.similarities()
    if negatives is None:
        negatives = draw_negatives(sim_t2i, same_image, temperature, sim_i2t, pool.first, uniform)
    pairs = pool.pairs(*matching_pairs(size, negatives, input_ids.device, pool.first))
    fused = model.fuse(  # all pairs at once, so that they share the images' keys and values
        **pairs._asdict(),
        whole=0 if decoder is None else size,
        return_attention=decoder is not None,
        attention_layers=policy.attention_layers,
        attention_heads=policy.attention_heads,
    )
    itm_logits = model.itm_logits(fused.first_token)
    itm_labels = matching_labels(size, len(itm_logits), input_ids.device)
    loss = loss_itm(itm_logits, itm_labels)
    return PretrainingOutput(
        image_embeds=image_embeds,
        image_features=image_features,
        text_embeds=text_embeds,
        text_features=text_features,
        sim_i2t=sim_i2t,
        sim_t2i=sim_t2i,
        multimodal_embeds=fused.multimodal_embeds[:, :length],  # without padding to other processes' texts
        itm_logits=itm_logits,
        itm_labels=itm_labels,
        loss=loss,
        loss_itm=loss,
        attention=None if fused.attention is None else fused.attention[:, :length],
        fell_back=fallbacks(sim_t2i, same_image),
    )


def _reconstruction_step(
    encoder: "VisibleEncoder",
    output: PretrainingOutput,
    mask: PatchMask,
    attention_mask: Tensor,
    normalize_pixels: bool,
) -> PretrainingOutput:
    """Step 2: encode the visible patches, fill in the masked ones and compare with the input."""
    model, decoder = encoder.model, encoder.model.mim_decoder
    visible_embeds = encoder(mask.ids_keep)
    text_only = decoder is not None and decoder.text == "text"
    context = output.text_embeds if text_only else output.multimodal_embeds
    reconstruction = model.decode(visible_embeds, mask.ids_keep, mask.ids_mask, context, attention_mask)
    visible, target = (take_patches(encoder.patches, ids) for ids in (mask.ids_keep, mask.ids_mask))
    if normalize_pixels:
        visible, target = normalize_patches(visible), normalize_patches(target)
    loss = loss_tmim(reconstruction, target)
    return output._replace(
        loss=output.loss_itm + loss,
        loss_tmim=loss,
        loss_mean_colour=loss_mean_colour(visible, target),
        visible_embeds=visible_embeds,
        reconstruction=reconstruction,
        target=target,
    )


class Guidance(NamedTuple):
    """What drives the mask of one batch.

    Attributes:
        input_ids, attention_mask: Texts, ``(B, L)`` each.
        row_weights: Weights of the token rows, ``(B, L)``.
        noise: Added to each ranking, ``(B, P)``.
        uniform: Draws where a ranking is random.
    """

    input_ids: Tensor
    attention_mask: Tensor
    row_weights: Tensor
    noise: Tensor
    uniform: Uniform


class VisibleEncoder:
    """Encodes the visible patches of one batch, for one mask after another.

    Args:
        model: Encodes.
        patches: All patches of the batch, ``(B, P, 3p²)``.
        pixels: Applied to the visible patches first, or ``None``.
    """

    def __init__(self, model: ContextBLIP, patches: Tensor, pixels: VisiblePixels | None) -> None:
        self.model = model
        self.patches = patches
        self.pixels = pixels

    def __call__(self, ids_keep: Tensor) -> Tensor:
        """Encode the patches at ``ids_keep`` ``(B, V)``, to ``(B, 1 + V, D)``."""
        visible = take_patches(self.patches, ids_keep)
        return self.model.encode_visible(visible if self.pixels is None else self.pixels(visible), ids_keep)


@torch.no_grad()
def choose_mask(
    encoder: VisibleEncoder,
    policy: MaskPolicy,
    row_attention: Tensor,
    guidance: Guidance,
    refine_steps: int,
) -> tuple[Tensor, PatchMask]:
    """Rank the patches ``refine_steps`` times; the number masked never changes.

    Each ranking after the first fuses the text with the visible patches alone: these take their attention
    from that pass, masked ones keep their last value, and all are ranked again.

    Args:
        encoder: Encodes visible patches.
        policy: Ranks.
        row_attention: The driving token's attention to the whole image, ``(B, P)``.
        guidance: Texts, token rows and noise.
        refine_steps: 1 or more.

    Returns:
        The attention last ranked by, ``(B, P)``, and the mask.
    """
    mask = policy.select(row_attention, guidance.noise, guidance.uniform)
    for _ in range(refine_steps - 1):
        seen = encoder.model.fuse(
            guidance.input_ids,
            guidance.attention_mask,
            encoder(mask.ids_keep),
            return_attention=True,
            attention_layers=policy.attention_layers,
            attention_heads=policy.attention_heads,
        ).attention
        if seen is not None:
            visible = _row_attention(seen, guidance.row_weights)
            row_attention = refine_attention(row_attention, visible, mask.ids_keep)
        mask = policy.select(row_attention, guidance.noise, guidance.uniform)
    return row_attention, mask


def _row_weights(
    policy: MaskPolicy, attention_mask: Tensor, token_row: Tensor | None, uniform: Uniform
) -> Tensor:
    """Return the given row as weights, else what the policy draws: ``(B, L)``."""
    if token_row is None:
        return policy.row_weights(attention_mask, uniform)
    return F.one_hot(token_row, attention_mask.shape[1]).float()


def _row_attention(attention: Tensor, row_weights: Tensor) -> Tensor:
    """Average the driving rows in fp32: in half precision many patches would tie."""
    with torch.autocast(attention.device.type, enabled=False):
        return patch_attention(attention.float(), row_weights)
