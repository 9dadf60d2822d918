"""Pre-training and zero-shot at a large batch on a GPU, with and without torch.compile, in bf16-mixed.

    python -m benchmarks.gpu [--batch N] [--rounds N] [--data DIR]

Images a second, peak memory and the share of the GPU's bf16 peak, which is the fastest of a few products of
large square matrices; beside them the images a second that data loading delivers. Without CUDA it says what
it would measure.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.data import save
from benchmarks.flops import count_flops
from benchmarks.images import SIDE, Photos, find_photos
from benchmarks.inputs import CAPTION_TOKENS, caption_batch, retrieval_batch, write_backbone
from benchmarks.ours import mixed, pretraining_task, ready
from contextblip.cores import count_cores
from contextblip.optim import build_optimizer, parameter_group
from contextblip.tasks import ZeroShot
from contextblip.tasks.base import ContextBLIPTask
from data_modules.images import readable_image
from data_modules.loaders import make_loader
from data_modules.transforms import TrainTransform, normalize_images

RESULTS = Path(__file__).with_name("gpu.json")
BATCH = 256
COUNTED = 8  # images by which operations are counted; they grow in proportion
WARM_UP = 3  # steps in which torch.compile compiles
SIDES = (4096, 8192, 16384)
PRODUCTS = 10
LOADED = 2048  # images of a loader's epoch
COMPILER = "inductor"

Row = dict[str, Any]
Step = Callable[[], object]


def run(
    device: torch.device,
    batch: int = BATCH,
    rounds: int = 10,
    size: str = "base",
    data: Path | None = None,
    workers: int | None = None,
) -> dict[str, Any]:
    """Measure both cases, with and without torch.compile, and data loading.

    Args:
        device: Where the model runs.
        batch: Images a step.
        rounds: Steps that count, and products.
        size: One of `benchmarks.inputs.SIZES`.
        data: Folder that holds ``coco``; ``None``: as in `benchmarks.images.find_photos`.
        workers: Processes that load; ``None``: one a core.

    Returns:
        The ``command``, the ``machine``, ``size``, ``peak_tflops``, ``loading``: see `loading_rate`, and
        ``steps``: rows with ``case``, ``compiled``, ``images_per_s``, ``tflops``, ``share`` and ``peak_mb``,
        which only CUDA tells.
    """
    peak = matrix_peak(device, rounds)
    with TemporaryDirectory() as folder:
        backbone = write_backbone(size, Path(folder) / "backbone")
        rows = []
        for name, make in STEPS.items():
            counted = count_flops(make(backbone, min(COUNTED, batch), device, False)) / min(COUNTED, batch)
            for compiled in (False, True):
                row = measure(make(backbone, batch, device, compiled), batch, device, rounds)
                speed = row["images_per_s"] * counted
                shares = {"tflops": speed / 1e12, "share": speed / peak}
                rows.append({"case": name, "compiled": compiled} | row | shares)
        loading = loading_rate(data, count_cores() if workers is None else workers, Path(folder), batch)
    return {
        "command": f"python -m benchmarks.gpu --batch {batch} --rounds {rounds}",
        "machine": {
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "torch": torch.__version__,
        },
        "size": size,
        "peak_tflops": peak / 1e12,
        "loading": loading,
        "steps": rows,
    }


def matrix_peak(device: torch.device, rounds: int) -> float:
    """Find the fastest product of square bf16 matrices.

    Args:
        device: Where.
        rounds: Measurements of each size in `SIDES`.

    Returns:
        Floating point operations a second.
    """
    best = 0.0
    for side in SIDES:
        left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
        for number in range(rounds + 1):
            _synchronize(device)
            start = time.perf_counter()
            for _ in range(PRODUCTS):
                torch.mm(left, right)
            _synchronize(device)
            if number:  # the first one chooses the kernel
                best = max(best, PRODUCTS * 2 * side**3 / (time.perf_counter() - start))
    return best


def pretraining_step(backbone: Path, images: int, device: torch.device, compiled: bool) -> Step:
    """Prepare steps of pre-training, with the optimiser.

    Args:
        backbone: From `benchmarks.inputs.write_backbone`.
        images: Image-caption pairs a step.
        device: Where.
        compiled: Whether the model's parts go through torch.compile.

    Returns:
        What runs a step.
    """
    task = pretraining_task(backbone)
    batch = _moved(caption_batch(task.backbone_config, (CAPTION_TOKENS * images)[:images]), device)
    _place(task, device, compiled)
    groups = parameter_group([task.model], task.lr, task.weight_decay)
    optimizer = build_optimizer("adamw", groups, task.betas)

    def step() -> None:
        with mixed("bf16", device.type):
            loss = task.run_step(batch).loss
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def zero_shot_step(backbone: Path, images: int, device: torch.device, compiled: bool) -> Step:
    """Prepare zero-shot steps over sets of ten, three queries each; see `pretraining_step`."""
    task = ZeroShot(str(backbone))
    ready(task)
    task.eval()
    batch = _moved(retrieval_batch(task.backbone_config, images=images), device)
    _place(task, device, compiled)

    def step() -> Tensor:
        with torch.inference_mode(), mixed("bf16", device.type):
            return task.score(batch).candidate_logits

    return step


STEPS: Mapping[str, Callable[[Path, int, torch.device, bool], Step]] = {
    "pre-training": pretraining_step,
    "zero-shot": zero_shot_step,
}


def _moved(batch: Any, device: torch.device) -> Any:  # noqa: ANN401  # one of the batches of types.py
    return {key: value.to(device) if isinstance(value, Tensor) else value for key, value in batch.items()}


def _place(task: ContextBLIPTask, device: torch.device, compiled: bool) -> None:
    task.to(device)
    if compiled:
        torch.compiler.reset()
        for part in task.model.children():
            part.compile(backend=COMPILER)


def measure(step: Step, images: int, device: torch.device, rounds: int) -> Row:
    """Time steps.

    Args:
        step: Runs one.
        images: Images of it.
        device: Where it runs.
        rounds: Steps that count.

    Returns:
        Median of ``images_per_s``, and ``peak_mb``, megabytes (10^6 bytes) that tensors held at most;
        ``None`` without CUDA.
    """
    for _ in range(WARM_UP):
        step()
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    seconds = []
    for _ in range(rounds):
        _synchronize(device)
        start = time.perf_counter()
        step()
        _synchronize(device)
        seconds.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated(device) / 1e6 if on_gpu else None
    return {"images_per_s": images / median(seconds), "peak_mb": peak}


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def loading_rate(data: Path | None, workers: int, folder: Path, batch: int) -> Row:
    """Time an epoch of photos through the training transform, after a first one that starts the workers.

    Args:
        data: Folder that holds ``coco``; ``None``: as in `benchmarks.images.find_photos`.
        workers: Processes that load.
        folder: Where photos are drawn if there are none.
        batch: Images a batch.

    Returns:
        ``images_per_s``, ``workers`` and ``photos``.
    """
    label, photos = find_photos(data, folder)
    loader = make_loader(
        Photos((photos * -(-LOADED // len(photos)))[:LOADED], _load),
        batch_size=batch,
        num_workers=workers,
        sampler=None,
        collate=torch.stack,
        pin_memory=torch.cuda.is_available(),
    )
    for _ in range(2):
        start = time.perf_counter()
        for pixels in loader:
            normalize_images(pixels)
    return {"images_per_s": LOADED / (time.perf_counter() - start), "workers": workers, "photos": label}


def _load(path: Path) -> Tensor:
    with readable_image(path, "benchmark") as image:
        return TrainTransform(SIDE)(image, 0)


def table_of(results: Mapping[str, Any]) -> Table:
    """Lay the rows out."""
    table = Table(
        "", "torch.compile", "images/s", "TFLOP/s", "share of peak", "peak memory, MB", title="bf16-mixed"
    )
    for row in results["steps"]:
        memory = "" if row["peak_mb"] is None else f"{row['peak_mb']:,.0f}"
        rates = (f"{row['images_per_s']:,.0f}", f"{row['tflops']:,.1f}", f"{row['share']:.0%}")
        table.add_row(row["case"], "yes" if row["compiled"] else "no", *rates, memory)
    loading = results["loading"]
    name = f"data loading, {loading['workers']} workers"
    table.add_row(name, "", f"{loading['images_per_s']:,.0f}", "", "", "")
    return table


def plan(batch: int) -> str:
    """Say what would be measured where there is CUDA."""
    return (
        f"no CUDA device here, nothing measured; on one, with {batch} images a step in bf16-mixed:\n"
        f"  {' and '.join(STEPS)}, with and without torch.compile: images a second, peak memory and\n"
        "  the share of the GPU's bf16 peak (products of large square matrices)\n"
        f"  data loading with {count_cores()} workers: images a second"
    )


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print the table, write the results; without CUDA say what would be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--batch", type=int, default=BATCH, help="images a step")
    parser.add_argument("--rounds", type=int, default=10, help="steps that count")
    parser.add_argument("--data", type=Path, help="folder that holds coco; default $CONTEXTBLIP_DATA")
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON to write")
    arguments = parser.parse_args(words)
    if not torch.cuda.is_available():
        print(plan(arguments.batch))
        return
    results = run(torch.device("cuda"), arguments.batch, arguments.rounds, data=arguments.data)
    Console(width=120).print(table_of(results))
    save(results, arguments.results)


if __name__ == "__main__":
    main()
