"""Drawn data is known however its root is spelt."""

from pathlib import Path

import pytest

from contextblip.worlds import MINIATURE_PREFIXES, asked_miniature, asks_for_miniature, is_drawn, world_of
from data_modules.miniature import PRESETS


def test_a_root_says_that_it_asks_for_a_miniature() -> None:
    for preset, prefix in {
        "default": "miniature",
        "backbone": "miniature-backbone",
        "lesson-1": "miniature-lesson-1",
        "lesson-2": "miniature-lesson-2",
    }.items():
        assert asked_miniature(f"{prefix}:~/a:b") == (preset, Path.home() / "a:b")
        assert asks_for_miniature(f"{prefix}:x")
    assert not any(map(asks_for_miniature, ("miniature", "x:y", "miniature-other:x", "./miniature:x")))


def test_every_world_with_a_name_can_be_asked_for() -> None:
    assert set(MINIATURE_PREFIXES.values()) == set(PRESETS)


def test_a_world_is_drawn_wherever_one_enters_it(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "imagecode"
    link.symlink_to(world / "imagecode")
    assert all(is_drawn(folder) for folder in (world, world / "imagecode", link))
    assert not is_drawn(tmp_path)
    monkeypatch.chdir(world / "imagecode")
    roots = (".", "..", "../mmvp_vlm", "miniature:none", str(tmp_path))
    assert [world_of(root) for root in roots] == ["miniature"] * 4 + ["real"]
