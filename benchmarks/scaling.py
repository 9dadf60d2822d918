"""How the cost of zero-shot grows: a query's with the queries of its set, a shortlist's with its length.

    python -m benchmarks.scaling [--rounds N] [--threads N]

The images of a set are encoded and their keys and values projected once however many queries ask for them, so
a query of many costs less than one alone; what the count of floating point operations predicts stands beside
what was measured. Re-ranking fuses one text with each image of its shortlist.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.command import make_parser
from benchmarks.data import save
from benchmarks.flops import count_flops
from benchmarks.inputs import QUERY_TOKENS, SEED, draw_texts, retrieval_batch, write_backbone
from benchmarks.machine import THREADS, describe, refuse_committed, use_threads
from benchmarks.ours import ready
from benchmarks.scaling_figure import draw
from contextblip.errors import ConfigurationError
from contextblip.reranking import pair_keys, score_pairs
from contextblip.tasks import ZeroShot
from contextblip.tasks.pair_scoring import PairScorer
from contextblip.tasks.retrieval_gallery import Gallery

RESULTS = Path(__file__).with_name("scaling.json")
FIGURE = Path(__file__).parents[1] / "docs" / "scaling.png"
QUERIES = (1, 2, 3, 5, 8, 16)
SHORTLISTS = (8, 16, 32, 64)
TOKENS = QUERY_TOKENS[1]  # of every text here, so that all queries cost the same
CHUNK = 32  # pairs fused at once in re-ranking

Row = dict[str, Any]
Work = Callable[[], object]


def run(rounds: int = 3, size: str = "base", threads: int = THREADS) -> dict[str, Any]:
    """Measure both curves in fp32.

    Args:
        rounds: Runs of each point that count.
        size: One of `benchmarks.inputs.SIZES`.
        threads: Of PyTorch.

    Returns:
        The ``command``, the ``machine``, ``size``; ``queries``: rows with ``queries`` of a set of ten,
        ``s_per_query``, ``gflop_per_query`` and ``predicted_s_per_query``, the cost of a lone query times the
        ratio of operations; ``reranking``: rows with ``shortlist``, ``s`` and ``s_per_pair``.
    """
    with use_threads(threads), TemporaryDirectory() as folder:
        task = ZeroShot(str(write_backbone(size, Path(folder) / "backbone")), adapter_layers=())
        ready(task)
        task.eval()
        zero_shot = {queries: _zero_shot(task, queries) for queries in QUERIES}
        reranking = {shortlist: _reranking(task, shortlist) for shortlist in SHORTLISTS}
        flops = {queries: count_flops(work) / queries / 1e9 for queries, work in zero_shot.items()}
        seconds, listed = (_medians(works, rounds) for works in (zero_shot, reranking))
    per_query = {queries: seconds[queries] / queries for queries in QUERIES}
    return {
        "command": f"python -m benchmarks.scaling --rounds {rounds} --size {size} --threads {threads}",
        "machine": describe(threads),
        "size": size,
        "queries": [
            {
                "queries": queries,
                "s_per_query": per_query[queries],
                "gflop_per_query": flops[queries],
                "predicted_s_per_query": per_query[1] * (flops[queries] / flops[1]),
            }
            for queries in QUERIES
        ],
        "reranking": [
            {"shortlist": length, "s": listed[length], "s_per_pair": listed[length] / length}
            for length in SHORTLISTS
        ],
    }


def _zero_shot(task: ZeroShot, queries: int) -> Work:
    """Score so many queries of a set of ten."""
    batch = retrieval_batch(task.backbone_config, [TOKENS] * queries)
    return torch.inference_mode()(lambda: task.score(batch))


def _reranking(task: ZeroShot, shortlist: int) -> Work:
    """Score one text with the images of its shortlist, whose states are at hand, whatever they are."""
    config, generator = task.backbone_config, torch.Generator().manual_seed(SEED)
    states = torch.randn(shortlist, 1 + config.num_patches, config.vision_width, generator=generator)
    input_ids, attention_mask = draw_texts(config, [TOKENS], generator)
    gallery = Gallery(
        image_features=torch.zeros(shortlist, config.projection_width),
        text_features=torch.zeros(1, config.projection_width),
        input_ids=input_ids,
        attention_mask=attention_mask,
        image_index=torch.zeros(1, dtype=torch.long),
        owned=torch.ones(shortlist, dtype=torch.bool),
        image_embeds=dict(enumerate(states)),
    )
    of_images = torch.empty(shortlist, 0, dtype=torch.long)  # no image asks for texts
    keys = pair_keys(of_images, torch.arange(shortlist)[None], gallery.owned)

    def work() -> torch.Tensor:
        scorer = PairScorer(task.model, gallery, "itm", total=len(keys))
        return score_pairs(keys, 1, CHUNK, scorer)

    return torch.inference_mode()(work)


def _medians(works: Mapping[int, Work], rounds: int) -> dict[int, float]:
    """Time all points in turn, round by round; the first round warms up."""
    seconds: dict[int, list[float]] = {point: [] for point in works}
    for number in range(rounds + 1):
        for point, work in works.items():
            start = time.perf_counter()
            work()
            if number:
                seconds[point].append(time.perf_counter() - start)
    return {point: median(found) for point, found in seconds.items()}


def tables_of(results: Mapping[str, Any]) -> list[Table]:
    """Lay both curves out."""
    queries = Table("queries of a set", "s a query", "GFLOP a query", "predicted, s", title="zero-shot")
    for row in results["queries"]:
        numbers = (row["s_per_query"], row["gflop_per_query"], row["predicted_s_per_query"])
        queries.add_row(str(row["queries"]), *(f"{number:,.3f}" for number in numbers))
    lists = Table("shortlist", "s", "ms a pair", title="re-ranking one text")
    for row in results["reranking"]:
        lists.add_row(str(row["shortlist"]), f"{row['s']:,.3f}", f"{1000 * row['s_per_pair']:,.1f}")
    return [queries, lists]


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print the tables, write the results and draw them."""
    parser = make_parser("scaling", __doc__, rounds=3, what="runs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON to write")
    parser.add_argument("--figure", type=Path, default=FIGURE, help="picture to draw")
    arguments = parser.parse_args(words)
    try:
        refuse_committed(arguments.size, arguments.results, RESULTS)
        refuse_committed(arguments.size, arguments.figure, FIGURE)
    except ConfigurationError as error:
        parser.exit(2, f"error: {error}\n")
    results = run(arguments.rounds, arguments.size, arguments.threads)
    for table in tables_of(results):
        Console(width=120).print(table)
    save(results, arguments.results)
    draw(arguments.figure, results)


if __name__ == "__main__":
    main()
