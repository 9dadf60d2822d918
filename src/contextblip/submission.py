"""IMAGECODE's leaderboard file: a prediction for each unlabelled description, in the order of its list."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from contextblip.errors import ConfigurationError

CANDIDATES = 10

Submission = dict[str, list[int]]


class Fault(NamedTuple):
    """Something that the leaderboard would refuse.

    Attributes:
        problem: What is wrong, and where.
        remedy: What mends it.
    """

    problem: str
    remedy: str


def make_submission(rows: Iterable[Mapping[str, Any]]) -> Submission:
    """Collect the predictions of each set in the order of its descriptions.

    Args:
        rows: Of ``predictions.jsonl``, in any order.

    Returns:
        ``{set: [predicted rank, ...]}``; sets in order of first appearance.

    Raises:
        ConfigurationError: A description of a set has no prediction, or two.
    """
    found: dict[str, dict[int, int]] = {}
    for row in rows:
        answers = found.setdefault(row["set"], {})
        if row["query_index"] in answers:
            raise ConfigurationError(
                f"set {row['set']}: description {row['query_index']} was predicted twice"
            )
        answers[row["query_index"]] = row["prediction"]
    for name, answers in found.items():
        if sorted(answers) != list(range(len(answers))):
            raise ConfigurationError(
                f"set {name}: predictions for descriptions {sorted(answers)}, expected all from 0; predict "
                "the whole split"
            )
    return {name: [answers[index] for index in sorted(answers)] for name, answers in found.items()}


def read_submission(path: Path) -> Submission:
    """Read a leaderboard file.

    Args:
        path: The file.

    Returns:
        Its content.

    Raises:
        ConfigurationError: It is missing, not JSON or of another form.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigurationError(
            f"{path} cannot be read ({reason}); `lightning predict` writes submission.json"
        ) from error
    if not isinstance(content, dict) or not all(isinstance(answers, list) for answers in content.values()):
        raise ConfigurationError(f"{path} is not of the form {{set: [index, ...]}}")
    return content


def submission_faults(
    submission: Mapping[str, Sequence[object]], descriptions: Mapping[str, int], candidates: int = CANDIDATES
) -> list[Fault]:
    """List what the leaderboard would refuse.

    Args:
        submission: Predicted ranks by set.
        descriptions: Number of descriptions of each set of the split.
        candidates: Images of a set.

    Returns:
        Missing and foreign sets, then faults within sets in the order of the split; empty where all is well.
    """
    whole_split = "predict the whole split"
    one_data = "give the data that was predicted as --root"
    whole_numbers = f"write whole numbers 0 to {candidates - 1}, the places of the images in their set"
    faults = [Fault(f"set {name} is missing", whole_split) for name in descriptions if name not in submission]
    foreign = [name for name in submission if name not in descriptions]
    faults += [Fault(f"set {name} is not in the split", one_data) for name in foreign]
    for name, count in descriptions.items():
        answers = submission.get(name, [])
        if name in submission and len(answers) != count:
            problem = f"set {name} has {len(answers)} predictions for {count} descriptions"
            faults.append(Fault(problem, whole_split if len(answers) < count else one_data))
        for position, answer in enumerate(answers):
            whole = isinstance(answer, int) and not isinstance(answer, bool)
            if not whole or not 0 <= answer < candidates:  # type: ignore[operator]  # whole says it is an int
                problem = f"set {name}, description {position}: {answer!r} is no index 0 to {candidates - 1}"
                faults.append(Fault(problem, whole_numbers))
    return faults
