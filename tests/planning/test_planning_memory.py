"""The memory that a process may take, and the most it took."""

from mmap import mmap
from pathlib import Path

import pytest

from contextblip.errors import ConfigurationError
from contextblip.planning import memory
from contextblip.planning.memory import HostMemory, memory_meter

MIB = 2**20


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system with 8 GiB available and no limit."""
    for name, folder in (("PROC", "proc"), ("CGROUPS", "cgroup")):
        (tmp_path / folder).mkdir()
        monkeypatch.setattr(memory, name, tmp_path / folder)
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 16777216 kB\nMemAvailable:    8388608 kB\n")
    return tmp_path


def group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def enter(machine: Path, line: str) -> None:
    (machine / "proc" / "self").mkdir()
    (machine / "proc" / "self" / "cgroup").write_text(f"1:cpu:/elsewhere\n{line}\n")


def test_without_a_limit_the_machine_counts(machine: Path) -> None:
    assert HostMemory().available() == 8192 * MIB
    enter(machine, "0::/job")
    group(machine / "cgroup" / "job", memory__max="max", memory__current=MIB, memory__stat="inactive_file 0")
    assert HostMemory().available() == 8192 * MIB


def test_the_tightest_limit_above_the_process_counts(machine: Path) -> None:
    enter(machine, "0::/job/step")
    used, stat = 1024 * MIB, f"anon 7\ninactive_file {24 * MIB}"
    group(machine / "cgroup" / "job", memory__max=3072 * MIB, memory__current=used, memory__stat=stat)
    assert HostMemory().available() == (3072 - 1024 + 24) * MIB
    step = machine / "cgroup" / "job" / "step"
    group(step, memory__max=2048 * MIB, memory__current=used, memory__stat=stat)
    assert HostMemory().available() == (2048 - 1024 + 24) * MIB


def test_in_a_container_of_the_first_version_the_root_counts(machine: Path) -> None:
    enter(machine, "4:memory:/docker/0123")
    names = {"memory__limit_in_bytes": 500 * MIB, "memory__usage_in_bytes": 200 * MIB}
    group(machine / "cgroup" / "memory", **names, memory__stat=f"total_inactive_file {50 * MIB}")
    assert HostMemory().available() == 350 * MIB


def test_the_peak_of_the_host_starts_again() -> None:
    meter = HostMemory()
    meter.restart()
    start = meter.peak()
    block = mmap(-1, 64 * MIB)  # the C library may have freed memory to give again, which is resident already
    for page in range(0, len(block), 4096):
        block[page] = 1
    assert start + 60 * MIB < meter.peak() < start + 80 * MIB
    block.close()
    assert meter.peak() > start + 60 * MIB
    meter.restart()
    assert meter.peak() < start + 20 * MIB


def test_systems_that_do_not_tell(machine: Path) -> None:
    assert not (machine / "proc" / "self" / "clear_refs").exists()
    with pytest.raises(ConfigurationError, match="which only Linux has"):
        memory_meter("cpu", 0)
