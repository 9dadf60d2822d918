"""What our model computes from the published code's weights and recorded draws, under the recorded names.

The folder comes from CONTEXTBLIP_PARITY; another one of the same form with other sizes must pass unchanged.
"""

import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from contextblip.checkpoints import infer_config, read_adapted
from contextblip.losses import loss_candidates, negative_weights
from contextblip.models import ContextBLIP, MaskPolicy, MIMDecoder, patchify
from contextblip.models.attention import padding_mask
from contextblip.models.masking import patch_attention
from contextblip.models.text_encoder import with_first_token
from contextblip.tasks.matching import Negatives, matching_pairs
from contextblip.tasks.pretraining_step import PretrainingOutput, pretraining_forward

FOLDER = Path(os.environ.get("CONTEXTBLIP_PARITY", Path(__file__).parents[2] / "shared" / "parity"))


def names(file: str) -> list[str]:
    """List the tensors of a recorded file, so that none can be left out; empty where the folder is absent."""
    if not FOLDER.is_dir():
        return []
    with safe_open(str(FOLDER / file), "pt") as tensors:
        return sorted(tensors.keys())


@cache
def config() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FOLDER / "config.json").read_text())
    return loaded


@cache
def inputs() -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = load_file(FOLDER / "inputs.safetensors")
    return tensors


def load_model(
    file: str, *, mim_decoder: bool = False, score_head: bool = False, inter_context: bool = False
) -> ContextBLIP:
    """Build our model around the published weights, through our reader."""
    adapted = read_adapted(str(FOLDER / file))
    sizes = config()
    model = ContextBLIP.build(
        infer_config(adapted.state_dict, vision_heads=sizes["vit_heads"], text_heads=sizes["text_heads"]),
        adapter_layers=sizes["adapter_layers"],
        downsampling_rate=sizes["reduction"],
        decoder_layers=sizes["dec_layers"],
        decoder_heads=sizes["dec_heads"],
        inter_context_layers=sizes["ctx_layers"],
        inter_context_heads=sizes["ctx_heads"],
        max_candidates=sizes["candidates"],
        mim_decoder=mim_decoder,
        score_head=score_head,
        inter_context=inter_context,
    )
    assert model.config.enc_token_id == sizes["enc_token_id"]
    missing, unexpected = model.load_state_dict(adapted.state_dict, strict=False)
    assert set(missing) <= {"temperature"}
    assert not unexpected
    return model.eval()


@cache
def pretraining_model() -> ContextBLIP:
    model = load_model("weights.safetensors", mim_decoder=True)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(("adapter.", "mim_decoder.")))
    return model


def scramble(patches: Tensor) -> Tensor:
    """Permute pixels as the published code does: a (y, x, channel) vector read as (channel, y, x)."""
    side = config()["patch_size"]
    return patches.view(*patches.shape[:2], 3, side, side).movedim(2, -1).flatten(2)


@cache
def pretraining_output(layout: str) -> PretrainingOutput:
    """Run the real pre-training step with the recorded draws in place of random ones."""
    given = inputs()
    return pretraining_forward(
        pretraining_model(),
        given["pixel_values"],
        given["input_ids"],
        given["attention_mask"],
        policy=MaskPolicy(mask_ratio=config()["mask_rate"]),
        negatives=(given["neg_image_idx"], given["neg_text_idx"]),
        token_row=given["mask_token_index"].expand(len(given["input_ids"])),
        noise=given["mask_noise"],
        visible_pixels=scramble if layout == "published" else None,
    )


def decoder_states(decoder: MIMDecoder, hidden: Tensor, text: Tensor, attention_mask: Tensor) -> Tensor:
    """Run all layers for all patches; the decoder itself computes the last one for masked patches alone."""
    for layer in decoder.layers:
        hidden, _ = layer(hidden, None, text, padding_mask(attention_mask))
    return hidden


def masked_image_tensors(layout: str) -> dict[str, Tensor]:
    """Name the masked pass's tensors as recorded."""
    model, out = pretraining_model(), pretraining_output(layout)
    decoder = model.mim_decoder
    assert decoder is not None
    assert out.mask is not None
    assert out.visible_embeds is not None
    patches = patchify(inputs()["pixel_values"], model.config.patch_size)
    visible = patches.gather(1, out.mask.ids_keep[..., None].expand(-1, -1, patches.shape[-1]))
    seen = scramble(visible) if layout == "published" else visible
    depth = range(1, model.config.vision_layers + 1)
    text = inputs()["attention_mask"]
    decoder_input = decoder.assemble(out.visible_embeds, out.mask.ids_keep, out.mask.ids_mask)
    text_embeds = decoder.text_states(out.multimodal_embeds)
    assert text_embeds is not None
    assert out.reconstruction is not None
    assert out.target is not None
    assert out.loss_tmim is not None
    return {
        "mim_patch_tokens": model.vision_encoder.patch_embed(seen),
        "mim_image_patches": patches,
        "masked_idx": out.mask.ids_mask,
        "unmasked_idx": out.mask.ids_keep,
        "mim_unmasked_patches": visible,
        "mim_vit_hidden": torch.stack(
            model.vision_encoder(seen, out.mask.ids_keep, layers=depth).intermediates
        ),
        "mim_unmask_tokens": out.visible_embeds,
        "mim_text_embeds": text_embeds,
        "mim_dec_input": decoder_input,
        "mim_dec_output": decoder_states(decoder, decoder_input, text_embeds, text),
        "mim_recon": out.reconstruction,
        "mim_target": out.target,
        "loss_mim": out.loss_tmim,
        "loss_total": out.loss,
    }


@cache
def pretraining_tensors() -> dict[str, Tensor]:
    model, out, given = pretraining_model(), pretraining_output("published"), inputs()
    depth = range(1, model.config.vision_layers + 1)
    vision = model.vision_encoder(patchify(given["pixel_values"], model.config.patch_size), layers=depth)
    text = model.encode_text(given["input_ids"], given["attention_mask"])
    encoder_ids = with_first_token(given["input_ids"], model.config.enc_token_id)
    assert out.attention is not None
    rows = torch.nn.functional.one_hot(given["mask_token_index"], given["input_ids"].shape[1])
    driving = patch_attention(out.attention, rows.expand(len(encoder_ids), -1).float())
    chosen = Negatives(given["neg_image_idx"], given["neg_text_idx"])
    text_index, image_index = matching_pairs(len(encoder_ids), chosen, encoder_ids.device)
    texts = given["input_ids"][text_index], given["attention_mask"][text_index]
    pairs = model.fuse(*texts, out.image_embeds, image_index=image_index)
    noisy = MaskPolicy(mask_ratio=config()["mask_rate"]).select(driving, given["mask_noise_example"])
    return {
        "vit_hidden": torch.stack(vision.intermediates),
        "image_embeds_pre": vision.last,
        "image_embeds": out.image_embeds,
        "image_feat": out.image_features,
        "text_feat": out.text_features,
        "text_hidden": text.text_embeds,
        "sim_i2t": out.sim_i2t,
        "sim_t2i": out.sim_t2i,
        "weights_t2i": negative_weights(out.sim_t2i),
        "weights_i2t": negative_weights(out.sim_i2t),
        "encoder_input_ids": encoder_ids,
        "fused_hidden_pos": out.multimodal_embeds,
        "text_ids_neg": encoder_ids[given["neg_text_idx"]],
        "text_atts_neg": given["attention_mask"][given["neg_text_idx"]],
        "vl_embeddings": pairs.multimodal_embeds[:, 0],
        "itm_logits": out.itm_logits,
        "itm_labels": out.itm_labels,
        "loss_itm": out.loss_itm,
        "avg_attention_map": out.attention,
        "mask_noise_example_idx": torch.cat([noisy.ids_mask, noisy.ids_keep], dim=1),
        **masked_image_tensors("published"),
        **{f"fixedorder.{name}": tensor for name, tensor in masked_image_tensors("fixed").items()},
    }


def fuse_candidates(model: ContextBLIP) -> tuple[Tensor, Tensor]:
    """Fuse the one description with each candidate: states ``(K, L, D)`` and attention map."""
    given = inputs()
    candidates = len(given["zs_pixel_values"])
    images = model.encode_images(given["zs_pixel_values"]).image_embeds
    ids = given["zs_input_ids"].expand(candidates, -1)
    mask = given["zs_attention_mask"].expand(candidates, -1)
    fused = model.fuse(ids, mask, images, return_attention=True)
    assert fused.attention is not None
    return fused.multimodal_embeds, fused.attention


@cache
def zero_shot_tensors() -> dict[str, Tensor]:
    model = load_model("weights.safetensors", mim_decoder=True)
    states, attention = fuse_candidates(model)
    logits = model.itm_logits(states)
    scores = logits.softmax(dim=1)[:, 1]
    return {
        "zs_fused_hidden": states,
        "zs_avg_attention_map": attention,
        "zs_itm_logits": logits,
        "zs_scores": scores,
        "zs_pred": scores.argmax(),
    }


@cache
def stage_one() -> tuple[dict[str, Tensor], ContextBLIP]:
    model = load_model("weights_stage1.safetensors", score_head=True)
    states, _ = fuse_candidates(model)
    features = model.candidate_features(states)
    known = torch.ones(1, len(features), dtype=torch.bool)
    logits = model.score_candidates(features[None], torch.tensor([False]), known, inter_context=False)
    loss = loss_candidates(logits, inputs()["target_index"][None])
    return {"s1_features": features, "s1_logits": logits.T, "s1_loss": loss}, model


@cache
def stage_two(kind: str) -> tuple[dict[str, Tensor], ContextBLIP]:
    model = load_model("weights_stage2.safetensors", inter_context=True)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("inter_context."))
    states, _ = fuse_candidates(model)
    features = model.candidate_features(states)[None]
    is_video, known = torch.tensor([kind == "video"]), torch.ones(features.shape[:2], dtype=torch.bool)
    assert model.inter_context is not None
    logits = model.score_candidates(features, is_video, known, inter_context=True)
    tensors = {
        "x_pos": model.inter_context.embed(features, is_video, known),
        "ctx_out": model.inter_context(features, is_video, known),
        "logits": logits[..., None],
        "loss": loss_candidates(logits, inputs()["target_index"][None]),
    }
    return {f"s2_{kind}_{name}": tensor for name, tensor in tensors.items()}, model


@cache
def computed() -> dict[str, Tensor]:
    return {
        **pretraining_tensors(),
        **zero_shot_tensors(),
        **stage_one()[0],
        **stage_two("video")[0],
        **stage_two("static")[0],
    }


def gradients(loss: Callable[[], Tensor], model: ContextBLIP) -> dict[str, Tensor]:
    """Return the gradients in our names of all parameters that receive one."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(loss(), list(parameters.values()), retain_graph=True, allow_unused=True)
    return {name: grad for name, grad in zip(parameters, found, strict=True) if grad is not None}


@cache
def computed_gradients(group: str) -> dict[str, Tensor]:
    if group.startswith("grad_stage"):
        tensors, model = (
            stage_one() if group == "grad_stage1" else stage_two(group.removeprefix("grad_stage2_"))
        )
        loss = next(tensor for name, tensor in tensors.items() if name.endswith("_loss"))
        return gradients(lambda: loss, model)
    out = pretraining_output("fixed" if group.startswith("fixedorder.") else "published")
    assert out.loss_tmim is not None
    losses = {"itm": out.loss_itm, "mim": out.loss_tmim, "total": out.loss}
    return gradients(lambda: losses[group.rpartition("_")[2]], pretraining_model())


def split_gradient_name(name: str) -> tuple[str, str]:
    """Split a recorded name into its group and the published parameter's name."""
    group, _, parameter = name.removeprefix("fixedorder.").partition(".")
    return ("fixedorder." if name.startswith("fixedorder.") else "") + group, parameter
