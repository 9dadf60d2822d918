"""Join IMAGECODE's texts with what is known of them: annotations, frame numbers, random draws."""

from collections.abc import Iterable, Mapping, Sequence

from contextblip.candidate_order import candidate_number
from contextblip.types import Query
from data_modules.imagecode_files import Annotations, Descriptions
from data_modules.random_samples import NO_SAMPLES, Samples
from data_modules.retrieval import CandidateSet, RetrievalItem

Frames = Mapping[str, Sequence[int]]
NO_FRAMES: Frames = {}


def frame_numbers(sets: Iterable[CandidateSet]) -> Frames:
    """Read the frame numbers of the videos' candidates from their file names.

    Args:
        sets: Candidate sets.

    Returns:
        Numbers in the order that targets count, by the name of the set; none of static sets.
    """
    numbers = {
        candidates.name: [candidate_number(name) for name in candidates.names]
        for candidates in sets
        if candidates.is_video
    }
    return {name: [number for number in row if number is not None] for name, row in numbers.items()}


def make_items(
    descriptions: Descriptions,
    annotations: Annotations,
    propositions: Mapping[str, int],
    frames: Frames = NO_FRAMES,
    samples: Samples = NO_SAMPLES,
) -> list[RetrievalItem]:
    """Make one item a description, in file order.

    Args:
        descriptions: The split.
        annotations: May lack some texts.
        propositions: By text; may lack some.
        frames: Of video sets, by name.
        samples: Names of the random draws by set and target.

    Returns:
        Items.
    """
    items = []
    for set_row, (name, rows) in enumerate(descriptions.items()):
        for query_index, (target, text) in enumerate(rows):
            query: Query = {
                "set_name": name,
                "query_index": query_index,
                "text": text,
                "phenomena": annotations.phenomena.get((name, target), []),
                "n_propositions": propositions.get(text),
                "challenging": (name, target) in annotations.challenging,
                "frames": list(frames.get(name, ())),
                "samples": samples.get((name, target), []),
                "parts": [],
            }
            items.append(RetrievalItem(set_row, (query,), (target,)))
    return items
