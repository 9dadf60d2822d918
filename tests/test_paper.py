"""The paper's numbers: as transcribed, and true to their own arithmetic but for the cells marked doubtful."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from contextblip.errors import ConfigurationError
from contextblip.paper import PaperRow, PaperTable, paper_table, paper_tables, published_counts

SHARED = Path(__file__).parents[2] / "shared" / "paper" / "paper_tables.yaml"
TABLES = paper_tables()
DESCRIBING = {"method", "params", "image_size", "variant", "mask_ratio", "layers", "delta", "dataset"}
DESCRIBING |= {"instance_id", "n_props"}
SUBSETS = (("zs_all", "zs_video", "zs_image"), ("ft_all", "ft_video", "ft_image"), ("all", "video", "image"))


@pytest.fixture(scope="module")
def shared() -> dict[str, Any]:
    """The transcription that this repository's data were made from."""
    if not SHARED.is_file():
        pytest.skip("the shared transcription is not here")
    tables: dict[str, Any] = yaml.safe_load(SHARED.read_text())["tables"]
    return tables


def transcribed(row: dict[str, Any], columns: list[str]) -> list[float | None]:
    """Bring a row of the transcription into one list."""
    listed = list(row.get("values", []))
    named = [row[column] for column in columns if column in row]
    return [*listed, *named]


@pytest.mark.parametrize("name", TABLES)
def test_numbers_equal_the_transcription(name: str, shared: dict[str, Any]) -> None:
    ours, theirs = paper_table(name), shared[name]
    if "columns" not in theirs:
        assert ours.settings == theirs["values"] | theirs.get("extra", {})
        return
    columns = [str(column) for column in theirs["columns"] if column not in DESCRIBING]
    rows = [transcribed(row, columns) for row in theirs["rows"]]
    assert [list(row.values.values()) for row in ours.rows] == rows
    assert ours.split == theirs.get("split")
    assert ours.subset == theirs.get("subset")


def test_published_counts_equal_the_transcription(shared: dict[str, Any]) -> None:  # noqa: ARG001
    meta = yaml.safe_load(SHARED.read_text())["meta"]
    counts = published_counts()
    assert list(counts.tags.values()) == [n for _, n in meta["challenging_denominators"].values()]
    assert list(counts.descriptions.values()) == [
        part["descriptions"] for part in meta["imagecode_counts"].values()
    ]
    assert list(counts.videos.values()) == [part["video"] for part in meta["imagecode_counts"].values()]


@pytest.mark.parametrize("name", TABLES)
def test_every_doubt_names_a_cell_and_labels_are_unique(name: str) -> None:
    table = paper_table(name)
    labels = [row.label for row in table.rows]
    assert len(set(labels)) == len(labels)
    for label, column in table.doubts:
        row = table.row(label)
        assert row is not None
        assert row.values.get(column, row.details.get(column)) is not None


def mixtures(table: PaperTable, row: PaperRow) -> list[tuple[str, float]]:
    """Give the columns of `all` and how far each lies from the mixture of video and static."""
    counts = published_counts()
    assert table.split is not None
    share = counts.videos[table.split] / counts.descriptions[table.split]
    found = []
    for names in SUBSETS:
        whole, video, static = (row.values.get(name) for name in names)
        if whole is not None and video is not None and static is not None:
            found.append((names[0], abs(whole - share * video - (1 - share) * static)))
    return found


@pytest.mark.parametrize("number", [1, 5, 6, 7, 14, 15, 17])
def test_all_is_the_mixture_of_video_and_static_unless_doubtful(number: int) -> None:
    table = paper_table(number)
    # each of the three numbers is rounded to 0.1, which alone moves the sum by up to 0.1
    checked = [(row.label, column, gap) for row in table.rows for column, gap in mixtures(table, row)]
    assert len(checked) >= 3
    wrong = {(label, column) for label, column, gap in checked if gap > 0.15}
    assert wrong <= set(table.doubts)


def test_a_copied_row_breaks_the_mixture_and_is_flagged() -> None:
    table = paper_table(15)
    row = table.row("UNITER")
    assert row is not None
    assert dict(mixtures(table, row))["zs_all"] > 0.5
    assert "Table 1" in (table.doubt("UNITER", "zs_all") or "")


@pytest.mark.parametrize("number", [2, 18])
def test_phenomena_are_shares_of_the_tag_counts_unless_doubtful(number: int) -> None:
    table = paper_table(number)
    wrong = set()
    for row in table.rows:
        for phenomenon, n in published_counts().tags.items():
            value = row.values[phenomenon]
            assert value is not None
            if abs(100 * round(value * n / 100) / n - value) > 0.1001:
                wrong.add((row.label, phenomenon))
    assert wrong
    assert wrong <= set(table.doubts)


@pytest.mark.parametrize("number", [3, 16])
def test_patterns_are_fifteenths_and_averages_follow_unless_doubtful(number: int) -> None:
    table, pairs = paper_table(number), published_counts().pairs_per_pattern
    wrong = set()
    for row in table.rows:
        *cells, average = [value for value in row.values.values() if value is not None]
        rights = [round(value * pairs / 100) for value in cells]
        assert cells == [round(100 * right / pairs, 1) for right in rights]
        if abs(100 * sum(rights) / (9 * pairs) - average) > 0.051:
            wrong.add((row.label, "average"))
    assert wrong == {("EVA02 ViT-bigE-14+", "average")}
    assert wrong <= set(table.doubts)


def test_table_3_is_part_of_table_16_and_table_14_repeats_table_1() -> None:
    for row in paper_table(3).rows:
        assert paper_table(16).row(row.label) == row
    for row in paper_table(1).rows:
        assert paper_table(14).row(row.label) == row


def test_averages_of_the_challenging_samples_follow_unless_doubtful() -> None:
    table = paper_table(18)
    for row in table.rows:
        *cells, average = [value for value in row.values.values() if value is not None]
        good = abs(sum(cells) / len(cells) - average) < 0.06
        assert good != ((row.label, "average") in table.doubts)


def test_table_10_counts_the_whole_validation_split_and_its_improvements() -> None:
    table = paper_table(10)
    rows = {row.label: [value or 0 for value in row.values.values()] for row in table.rows}
    assert sum(rows["Queries"]) == published_counts().descriptions["valid"]
    gains = [
        round(100 * (ours - theirs) / n, 1)
        for ours, theirs, n in zip(rows["ContextBLIP"], rows["NDCR"], rows["Queries"], strict=True)
    ]
    assert gains == rows["Improvement"]


def test_the_defaults_number_differs_between_tables_and_is_flagged_in_each() -> None:
    for number, label in ((5, "mask ratio 0.25"), (6, "layers 3, 6, 9, 12"), (7, "downsampling rate 2")):
        assert paper_table(number).value(label, "all") == 31.1
        assert "Table 15" in (paper_table(number).doubt(label, "all") or "")
    assert paper_table(15).value("ContextBLIP", "zs_all") == 30.6
    assert "Tables 5 to 7" in (paper_table(15).doubt("ContextBLIP", "zs_all") or "")
    assert paper_table(15).doubt("ContextBLIP", "zs_video") is None, "19.9 in all of them"


def test_a_table_is_found_by_id_or_number_and_an_unknown_one_is_named() -> None:
    assert paper_table("table15") == paper_table("15") == paper_table(15)
    with pytest.raises(
        ConfigurationError, match="19: the paper has no such table; there are table1 to table18"
    ):
        paper_table(19)
