"""Batches and outputs: all that data modules, tasks and callbacks share."""

from typing import Literal, TypedDict

from torch import Tensor


class Query(TypedDict):
    """One description and where it comes from.

    Attributes:
        set_name: Image set (IMAGECODE) or pair (MMVP-VLM) the description belongs to.
        query_index: Position of the description in its set, in file order, from 0.
        text: The description as published, before any clean-up.
        phenomena: Names of the annotated phenomena (MMVP-VLM: the pattern's ``Type``); may be empty.
        n_propositions: Number of propositions the text was split into, ``None`` where unknown.
        challenging: Whether it is one of IMAGECODE's 200 challenging samples; False elsewhere.
        frames: Frame number of each candidate, in order; empty where they are not frames of one video.
        samples: Names of the random samples of Table 8 it belongs to, ``static_1`` to ``video_100``; may be
            empty.
        parts: Texts to score in place of ``text``, whose scores are joined; empty means the text itself.
    """

    set_name: str
    query_index: int
    text: str
    phenomena: list[str]
    n_propositions: int | None
    challenging: bool
    frames: list[int]
    samples: list[str]
    parts: list[str]


class TextParts(TypedDict):
    """Parts of texts that are scored one by one, P of them for the B queries of a batch.

    Attributes:
        input_ids: Token ids, [CLS] first, padded to the longest part, ``(P, L)`` int64.
        attention_mask: 1 at tokens, 0 at padding, ``(P, L)`` int64.
        query_index: Row of each part's query, ascending, every query at least once, ``(P,)`` int64.
    """

    input_ids: Tensor
    attention_mask: Tensor
    query_index: Tensor


class CaptionBatch(TypedDict):
    """Image-caption pairs for pre-training.

    Attributes:
        images: Normalised pixels, ``(B, 3, H, W)`` float32.
        input_ids: Token ids, [CLS] first, padded to the batch's longest, ``(B, L)`` int64.
        attention_mask: 1 at tokens, 0 at padding, ``(B, L)`` int64.
        image_id: Equal for captions of one image, ``(B,)`` int64.
        index: Row of the data set, stable across epochs and processes, ``(B,)`` int64.
    """

    images: Tensor
    input_ids: Tensor
    attention_mask: Tensor
    image_id: Tensor
    index: Tensor


class RetrievalBatch(TypedDict):
    """Queries over image sets; each set's images stand once however many queries ask for it.

    Attributes:
        images: Candidates of each set, zero-padded where a set has fewer, ``(S, K, 3, H, W)`` float32.
        candidate_mask: True at real candidates, ``(S, K)`` bool.
        set_index: Row of ``images`` for each query, ``(B,)`` int64.
        input_ids: Token ids, [CLS] first, padded to the batch's longest, ``(B, L)`` int64.
        attention_mask: 1 at tokens, 0 at padding, ``(B, L)`` int64.
        target_index: Rank of the described candidate, -1 where unlabelled, ``(B,)`` int64.
        is_video: True where the candidates are frames of one video, ``(B,)`` bool.
        queries: One entry a query, in order.
        protocol: ``pairs`` where all queries of a set must be right together (MMVP-VLM).
        parts: Parts to score in place of the whole texts; ``None``: the texts are scored whole.
    """

    images: Tensor
    candidate_mask: Tensor
    set_index: Tensor
    input_ids: Tensor
    attention_mask: Tensor
    target_index: Tensor
    is_video: Tensor
    queries: list[Query]
    protocol: Literal["retrieval", "pairs"]
    parts: TextParts | None


class RetrievalOutput(TypedDict):
    """What a retrieval step returns for the callbacks.

    Attributes:
        candidate_logits: fp32 margins the ranking uses, -inf at padded candidates, ``(B, K)``.
        scores: Probabilities for display, ``(B, K)`` float32.
        prediction: Rank of the best candidate, ``(B,)`` int64.
        target_index: As in the batch, ``(B,)`` int64.
        is_video: As in the batch, ``(B,)`` bool.
        candidate_mask: True at real candidates, per query, ``(B, K)`` bool.
        queries: One entry a query, in order.
    """

    candidate_logits: Tensor
    scores: Tensor
    prediction: Tensor
    target_index: Tensor
    is_video: Tensor
    candidate_mask: Tensor
    queries: list[Query]


class GalleryImageBatch(TypedDict):
    """Images of a retrieval gallery, each of which comes once.

    Attributes:
        images: Normalised pixels, ``(B, 3, H, W)`` float32.
        index: Number of each image in the gallery, ``(B,)`` int64.
    """

    images: Tensor
    index: Tensor


class GalleryTextBatch(TypedDict):
    """Texts of a retrieval gallery, each of which comes once, without their images.

    Attributes:
        input_ids: Token ids, [CLS] first, padded to the batch's longest, ``(B, L)`` int64.
        attention_mask: 1 at tokens, 0 at padding, ``(B, L)`` int64.
        index: Number of each text in the gallery, ``(B,)`` int64.
        image_index: ``index`` of the image each text belongs to, -1 for none, ``(B,)`` int64.
    """

    input_ids: Tensor
    attention_mask: Tensor
    index: Tensor
    image_index: Tensor
