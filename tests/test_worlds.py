"""Drawn data is known however its root is spelt."""

from pathlib import Path

import pytest

from contextblip.worlds import asks_for_miniature, is_drawn, world_of


def test_a_root_says_that_it_asks_for_a_miniature() -> None:
    assert [
        asks_for_miniature(root) for root in ("miniature:x", "miniature-backbone:x", "miniature", "x:y")
    ] == [
        True,
        True,
        False,
        False,
    ]


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
