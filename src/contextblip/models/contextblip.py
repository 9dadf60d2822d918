"""ContextBLIP: BLIP's encoders, the multi-scale adapter and the parts of each stage (paper, Figure 2)."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contextblip.errors import ConfigurationError
from contextblip.models.adapter import AdapterFusion, MultiScaleAdapter, check_adapter_layers
from contextblip.models.config import BackboneConfig
from contextblip.models.grounding import ProjectedImages
from contextblip.models.inter_context import InterContextEncoder
from contextblip.models.mim_decoder import DecoderText, MIMDecoder
from contextblip.models.outputs import FusionOutput, ImageOutput, TextOutput, check_image_size
from contextblip.models.text_encoder import TextEncoder, with_first_token
from contextblip.models.vision_encoder import VisionEncoder, VisionOutput, patchify

ITMToken = Literal["enc", "cls"]
BACKBONE_PARTS = ("vision_encoder", "text_encoder", "vision_proj", "text_proj", "itm_head")


class ContextBLIP(nn.Module):
    """The whole model; parts that a stage does not have are ``None``.

    Args:
        config: Sizes of the backbone.
        adapter: Multi-scale adapter; ``None`` is plain BLIP.
        mim_decoder: Decoder of TMIM (pre-training only).
        score_head: Stage one's head D to 1 over unit-norm fused features.
        inter_context: Stage two's encoder over the candidates.
        dropout: Dropout of the text encoder.
        itm_token: First token of a grounded pass: [ENC] as BLIP was trained, or [CLS] as in transformers.
    """

    temperature: Tensor

    def __init__(
        self,
        config: BackboneConfig,
        adapter: MultiScaleAdapter | None = None,
        mim_decoder: MIMDecoder | None = None,
        score_head: nn.Linear | None = None,
        inter_context: InterContextEncoder | None = None,
        dropout: float = 0.1,
        itm_token: ITMToken = "enc",
    ) -> None:
        super().__init__()
        self.config = config
        self.itm_token = itm_token
        self.vision_encoder = VisionEncoder.of(config)
        self.text_encoder = TextEncoder.of(config, dropout)
        self.vision_proj = nn.Linear(config.vision_width, config.projection_width)
        self.text_proj = nn.Linear(config.text_width, config.projection_width)
        self.itm_head = nn.Linear(config.text_width, 2)
        self.register_buffer("temperature", torch.tensor(0.07))
        self.adapter = adapter
        self.mim_decoder = mim_decoder
        self.score_head = score_head
        self.inter_context = inter_context

    @classmethod
    def build(
        cls,
        config: BackboneConfig,
        *,
        adapter_layers: Sequence[int] = (3, 6, 9, 12),
        downsampling_rate: int = 2,
        adapter_fusion: AdapterFusion = "concat",
        adapter_zero_init: bool = False,
        mim_decoder: bool = False,
        decoder_layers: int = 4,
        decoder_heads: int = 12,
        decoder_text: DecoderText = "fused",
        score_head: bool = False,
        inter_context: bool = False,
        inter_context_layers: int = 2,
        inter_context_heads: int = 8,
        max_candidates: int = 10,
        position_std: float = 0.02,
        dropout: float = 0.1,
        itm_token: ITMToken = "enc",
    ) -> "ContextBLIP":
        """Build a randomly initialised model from plain values.

        Args:
            config: Sizes of the backbone.
            adapter_layers: ViT layers the adapter reads, counted from 1; empty means no adapter.
            downsampling_rate: The paper's δ.
            adapter_fusion: ``concat`` or ``add``, see `MultiScaleAdapter`.
            adapter_zero_init: Whether the adapter's update starts at zero.
            mim_decoder: Whether TMIM's decoder is built.
            decoder_layers: Its layers.
            decoder_heads: Its heads.
            decoder_text: What it attends to, see `MIMDecoder`.
            score_head: Whether stage one's head is built.
            inter_context: Whether stage two's encoder is built.
            inter_context_layers: Its layers.
            inter_context_heads: Its heads.
            max_candidates: Rows of its position table.
            position_std: Standard deviation of that table at the start.
            dropout: Dropout of all BERT-like parts.
            itm_token: First token of a grounded pass.

        Returns:
            The model.

        Raises:
            ConfigurationError: A value does not fit the backbone.
        """
        width = config.vision_width
        layers = check_adapter_layers(adapter_layers, config.vision_layers)
        adapter = (
            MultiScaleAdapter(width, layers, downsampling_rate, adapter_fusion, adapter_zero_init)
            if layers
            else None
        )
        decoder = (
            MIMDecoder(
                width,
                config.text_width,
                config.num_patches,
                config.patch_values,
                decoder_layers,
                decoder_heads,
                text=decoder_text,
                dropout=dropout,
            )
            if mim_decoder
            else None
        )
        encoder = (
            InterContextEncoder(
                config.text_width,
                inter_context_layers,
                inter_context_heads,
                max_candidates=max_candidates,
                position_std=position_std,
                dropout=dropout,
            )
            if inter_context
            else None
        )
        head = nn.Linear(config.text_width, 1) if score_head or inter_context else None
        return cls(config, adapter, decoder, head, encoder, dropout, itm_token)

    def _states(self, patches: Tensor, ids_keep: Tensor | None) -> VisionOutput:
        """Run the ViT; the intermediates are the layers that the adapter reads."""
        layers = () if self.adapter is None else self.adapter.layers
        states: VisionOutput = self.vision_encoder(patches, ids_keep, layers)
        return states

    def _adapted(self, states: VisionOutput) -> Tensor:
        """Return the ViT's output after the adapter, ``(N, 1 + V, D)``."""
        return states.last if self.adapter is None else self.adapter(*states)

    def vision_states(self, images: Tensor) -> VisionOutput:
        """Run the ViT alone on whole images, normalised pixels ``(N, 3, H, W)``."""
        check_image_size(images, self.config.image_size)
        return self._states(patchify(images, self.config.patch_size), None)

    def adapt(self, states: VisionOutput) -> ImageOutput:
        """Turn what `vision_states` gives into states after the adapter and features before it."""
        return ImageOutput(self._adapted(states), F.normalize(self.vision_proj(states.last[:, 0]), dim=-1))

    def encode_images(self, images: Tensor) -> ImageOutput:
        """Encode whole images, once each.

        Args:
            images: Normalised pixels, ``(N, 3, H, W)``.

        Returns:
            States after the adapter and features before it.
        """
        return self.adapt(self.vision_states(images))

    def encode_visible(self, patches: Tensor, ids_keep: Tensor) -> Tensor:
        """Encode visible patches alone (paper, Sec. 3.3, Step 2).

        Args:
            patches: Pixels in (y, x, channel) order, ``(B, V, 3p²)``.
            ids_keep: Their positions in the image, ``(B, V)`` int64.

        Returns:
            States after the adapter, ``(B, 1 + V, D)``.
        """
        return self._adapted(self._states(patches, ids_keep))

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor, *, whole: bool = True) -> TextOutput:
        """Encode texts without an image.

        Args:
            input_ids: [CLS] first, ``(B, L)`` int64.
            attention_mask: 1 at tokens, 0 at padding, ``(B, L)``.
            whole: Whether the states of all tokens are wanted, not of [CLS] alone.

        Returns:
            States and features.
        """
        states = self.text_encoder(input_ids, attention_mask, whole=None if whole else 0)
        features = F.normalize(self.text_proj(states.first[:, 0]), dim=-1)
        return TextOutput(states.hidden if whole else states.first, features)

    def fuse(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        image_embeds: Tensor | ProjectedImages,
        *,
        text_index: Tensor | None = None,
        image_index: Tensor | None = None,
        whole: int | None = None,
        return_attention: bool = False,
        attention_layers: Sequence[int] | None = None,
        attention_heads: Sequence[int] | None = None,
    ) -> FusionOutput:
        """Ground texts in images by cross-attention.

        Args:
            input_ids: [CLS] first, replaced by [ENC] here, ``(T, L)`` int64.
            attention_mask: 1 at tokens, 0 at padding, ``(T, L)``.
            image_embeds: Image states, ``(C, 1 + V, D)``, or `TextEncoder.project_images` of them.
            text_index: Text of each pair, ``(N,)``; ``None`` when T = N, in order.
            image_index: Image of each pair, ``(N,)``; ``None`` when C = N, in order. Keys and values are
                projected once an image.
            whole: How many pairs, the first ones, are returned with all their tokens; of the others only the
                first token is computed in the last layer. ``None``: all.
            return_attention: Whether the averaged cross-attention map of those pairs is wanted.
            attention_layers: Layers averaged, counted from 1; ``None`` means all.
            attention_heads: Heads averaged, counted from 1; ``None`` means all.

        Returns:
            Fused states and, if asked for, the map.
        """
        if self.itm_token == "enc":
            input_ids = with_first_token(input_ids, self.config.enc_token_id)
        states = self.text_encoder(
            input_ids,
            attention_mask,
            image_embeds,
            text_index=text_index,
            image_index=image_index,
            whole=whole,
            return_attention=return_attention,
            attention_layers=attention_layers,
            attention_heads=attention_heads,
        )
        return FusionOutput(states.hidden, states.first, states.attention)

    def itm_logits(self, multimodal_embeds: Tensor) -> Tensor:
        """Classify pairs from the first fused token, ``(N, L, D)`` to ``(N, 2)``; class 1 is a match."""
        logits: Tensor = self.itm_head(multimodal_embeds[:, 0])
        return logits

    def decode(
        self,
        visible_embeds: Tensor,
        ids_keep: Tensor,
        ids_mask: Tensor,
        text_embeds: Tensor,
        attention_mask: Tensor,
    ) -> Tensor:
        """Reconstruct masked patches, ``(B, M, 3p²)``; see `MIMDecoder.forward`."""
        if self.mim_decoder is None:
            raise ConfigurationError("this model has no TMIM decoder; only pre-training builds one")
        reconstruction: Tensor = self.mim_decoder(
            visible_embeds, ids_keep, ids_mask, text_embeds, attention_mask
        )
        return reconstruction

    @staticmethod
    def candidate_features(multimodal_embeds: Tensor) -> Tensor:
        """Return the unit-norm first fused token, ``(N, L, D)`` to ``(N, D)``."""
        return F.normalize(multimodal_embeds[:, 0], dim=-1)

    def score_candidates(
        self, features: Tensor, is_video: Tensor, candidate_mask: Tensor, *, inter_context: bool
    ) -> Tensor:
        """Score the candidates of each query by the head of stage one or two (paper, Sec. 3.4).

        Args:
            features: Unit-norm fused features, ``(B, K, D)``.
            is_video: ``(B,)`` bool; positions are added for videos only.
            candidate_mask: True at real candidates, ``(B, K)``.
            inter_context: Whether the candidates see one another first (stage two).

        Returns:
            ``candidate_logits``, ``(B, K)`` float32, -inf at padded candidates.
        """
        if self.score_head is None:
            raise ConfigurationError("this model has no score head: set --model.score itm")
        states = features
        if inter_context:
            if self.inter_context is None:
                raise ConfigurationError("this model has no inter-context encoder; only stage two has one")
            # The residual is the feature *without* its position (published code)
            states = self.inter_context(features, is_video, candidate_mask) + features
        logits: Tensor = self.score_head(states).squeeze(-1).float()
        return logits.masked_fill(~candidate_mask, -torch.inf)
