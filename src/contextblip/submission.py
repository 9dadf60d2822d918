"""IMAGECODE's leaderboard file: a prediction for each unlabelled description, in the order of its list."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from contextblip.errors import ConfigurationError

CANDIDATES = 10

Submission = dict[str, list[int]]


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
) -> list[str]:
    """List what the leaderboard would refuse.

    Args:
        submission: Predicted ranks by set.
        descriptions: Number of descriptions of each set of the split.
        candidates: Images of a set.

    Returns:
        One line a fault, in the order of the split; empty where all is well.
    """
    faults = [f"set {name} is missing" for name in descriptions if name not in submission]
    faults += [f"set {name} is not in the split" for name in submission if name not in descriptions]
    for name, count in descriptions.items():
        answers = submission.get(name, [])
        if name in submission and len(answers) != count:
            faults.append(f"set {name} has {len(answers)} predictions for {count} descriptions")
        for position, answer in enumerate(answers):
            whole = isinstance(answer, int) and not isinstance(answer, bool)
            if not whole or not 0 <= answer < candidates:  # type: ignore[operator]  # whole says it is an int
                faults.append(
                    f"set {name}, description {position}: {answer!r} is no index 0 to {candidates - 1}"
                )
    return faults
