"""A set's candidates: ordered by frame number, whatever order the folder lists them in."""

from hypothesis import given
from hypothesis import strategies as st

from contextblip.candidate_order import candidate_number, sort_candidates

SUFFIXES = st.sampled_from(["jpg", "jpeg", "png", "JPG", "PNG"])
FRAMES = st.one_of(st.integers(0, 12), st.integers(0, 10**6), st.integers(0, 10**30))
OTHERS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["Thumbs.db", "._img3.jpg", "img.jpg", "img-1.jpg", "img1.jpg.part"]),
)


@given(frames=st.lists(FRAMES, min_size=1, max_size=12, unique=True), suffix=SUFFIXES, random=st.randoms())
def test_a_target_is_the_rank_of_its_frame_number(frames: list[int], suffix: str, random: object) -> None:
    names = [f"img{frame}.{suffix}" for frame in frames]
    listed = names.copy()
    random.shuffle(listed)  # type: ignore[attr-defined]  # a random.Random of hypothesis
    ordered = sort_candidates(listed)
    for frame, name in zip(frames, names, strict=True):
        assert ordered.index(name) == sum(other < frame for other in frames)


@given(
    frames=st.lists(st.tuples(FRAMES, st.integers(0, 3), SUFFIXES), max_size=12),
    others=st.lists(OTHERS, max_size=5),
    data=st.data(),
)
def test_the_order_of_the_listing_does_not_count(
    frames: list[tuple[int, int, str]], others: list[str], data: st.DataObject
) -> None:
    """Even where two names have one number, as img1.jpg and img01.png do."""
    names = list({f"img{'0' * zeros}{frame}.{suffix}" for frame, zeros, suffix in frames})
    listed = data.draw(st.permutations([*names, *others]))
    ordered = sort_candidates(listed)
    assert ordered == sort_candidates(sorted(listed))
    assert sorted(ordered) == sorted(name for name in listed if candidate_number(name) is not None)
    numbers = [candidate_number(name) for name in ordered]
    assert numbers == sorted(number for number in numbers if number is not None)


@given(name=st.text(st.characters(exclude_categories=()), max_size=30))
def test_any_name_has_a_number_or_none(name: str) -> None:
    number = candidate_number(name)
    assert (number is not None) == (sort_candidates([name]) == [name])


def test_a_number_longer_than_any_file_name_is_none() -> None:
    assert candidate_number(f"img{'9' * 5000}.jpg") is None
    assert candidate_number(f"img{'9' * 200}.jpg") == int("9" * 200)
