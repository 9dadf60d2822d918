"""`weights`: the list, downloads from a folder, and weights compared with what was published."""

import dataclasses
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from contextblip import weights_catalogue
from contextblip.checkpoints import load_backbone
from contextblip.checkpoints.names import is_backbone_name
from contextblip.checkpoints.salesforce import save_salesforce
from contextblip.cli import main
from contextblip.downloads.hash_record import HashRecord
from contextblip.downloads.remote_files import RemoteFile
from contextblip.models import BackboneConfig, ContextBLIP
from contextblip.models.config import PRESETS
from contextblip.weights_catalogue import VOCABULARY, WEIGHTS, WeightsEntry, find_weights

Fail = Callable[[str], tuple[int, str]]


@pytest.fixture
def fail(capsys: pytest.CaptureFixture[str]) -> Fail:
    """Run a command that must fail with one line; give its exit status and that line."""

    def call(line: str) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(line.split())
        (shown,) = capsys.readouterr().err.splitlines()
        assert isinstance(stop.value.code, int)
        return stop.value.code, shown

    return call


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


@pytest.fixture
def config() -> BackboneConfig:
    sizes = {"vision_width": 16, "vision_layers": 1, "vision_heads": 2, "vision_mlp_width": 24}
    text = {"text_width": 16, "text_layers": 1, "text_heads": 2, "text_mlp_width": 24}
    rest = {"vocab_size": 20, "max_positions": 12, "projection_width": 8, "enc_token_id": 19}
    return BackboneConfig(image_size=16, patch_size=8, **sizes, **text, **rest)


@pytest.fixture
def tiny(config: BackboneConfig, monkeypatch: pytest.MonkeyPatch, workplace: Path) -> WeightsEntry:
    """Publish a small file of Salesforce's form, with its vocabulary, in the folder ``published``."""
    published = workplace / "published"
    published.mkdir()
    model = ContextBLIP.build(config, adapter_layers=[])
    path = save_salesforce(published / "tiny.pth", config, dict(model.state_dict()))
    (published / "vocab.txt").write_text("[PAD]\n")
    vocabulary = RemoteFile("bert-base-uncased/vocab.txt", ("https://example.invalid/vocab.txt",))
    monkeypatch.setattr(weights_catalogue, "VOCABULARY", vocabulary)
    count = sum(tensor.numel() for name, tensor in model.state_dict().items() if is_backbone_name(name))
    file = RemoteFile("tiny.pth", (path.absolute().as_uri(),), path.stat().st_size)
    entry = WeightsEntry("tiny", "small", "tiny.pth", (file, vocabulary), 16, count)
    monkeypatch.setitem(WEIGHTS, "tiny", entry)
    return entry


def test_the_list_names_all_and_the_papers(capsys: pytest.CaptureFixture[str]) -> None:
    main(["weights", "list"])
    out = capsys.readouterr().out
    assert all(name in out for name in WEIGHTS)
    assert "model_base: the paper starts from this one" in out
    assert "lightning weights download NAME" in out
    assert max(map(len, out.splitlines())) <= 110


@pytest.mark.parametrize(
    ("vit", "image_size"), [("base", 224), ("base", 384), ("large", 224), ("large", 384)]
)
def test_parameters_are_the_models(vit: str, image_size: int) -> None:
    large = {"vision_width": 1024, "vision_layers": 24, "vision_heads": 16, "vision_mlp_width": 4096}
    sizes = dataclasses.replace(PRESETS["base"], image_size=image_size, **(large if vit == "large" else {}))
    with torch.device("meta"):
        state = ContextBLIP.build(sizes, adapter_layers=[]).state_dict()
    count = sum(tensor.numel() for name, tensor in state.items() if is_backbone_name(name))
    assert weights_catalogue._PARAMETERS[vit, image_size] == count


def test_every_entry_can_be_had_and_named() -> None:
    for name, entry in WEIGHTS.items():
        assert find_weights(f"{name}.pth") is find_weights(f"Salesforce/{name}") is entry
        assert entry.files[0].path.startswith(entry.backbone)
        assert all(url.startswith(("https://", "hf://")) for file in entry.files for url in file.urls)
        # Salesforce's files have no vocabulary, the hub's folders have
        assert (VOCABULARY in entry.files) == entry.backbone.endswith(".pth")
    folder = WEIGHTS["blip-itm-base-coco"]
    wanted = {"pytorch_model.bin", "config.json", "vocab.txt"}
    assert {f"blip-itm-base-coco/{name}" for name in wanted} <= {file.path for file in folder.files}


def test_the_vocabulary_is_berts() -> None:
    assert VOCABULARY.sha256 == "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"


def test_download_then_verify(
    tiny: WeightsEntry, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["weights", "download", "tiny", "--mirror", "published"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3:] == [
        "tiny: small; licence: BSD-3-Clause",
        "check it: lightning weights verify weights/tiny.pth",
        "use it:   --model.backbone weights/tiny.pth",
    ]
    main(["weights", "verify", "tiny"])
    out = capsys.readouterr().out
    digest = hashlib.sha256((workplace / "published" / "tiny.pth").read_bytes()).hexdigest()
    assert f"sha256 {digest} tiny.pth (recorded when first seen)" in out
    assert f"parameters {tiny.parameters:,} (as published)" in out
    assert "image 16, patch 8, ViT 1 layers of 16, text 1 layers of 16, vocabulary 20" in out
    assert load_backbone("weights/tiny.pth").fingerprint in out
    assert out.splitlines()[-1] == "good: --model.backbone weights/tiny.pth"
    main(["weights", "verify", "weights/tiny.pth"])
    assert capsys.readouterr().out == out


def test_dry_run_touches_nothing(
    tiny: WeightsEntry, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["weights", "download", "tiny", "--dry_run", "--root", "other"])
    assert capsys.readouterr().out.splitlines() == [
        f"{(workplace / 'published' / 'tiny.pth').as_uri()}  ({tiny.files[0].size:,} bytes)",
        "  -> other/tiny.pth",
        "https://example.invalid/vocab.txt  (size unknown)",
        "  -> other/bert-base-uncased/vocab.txt",
        f"2 files, {(tiny.files[0].size or 0) / 1000:.1f} kB and 1 of unknown size",
        "0 of 2 files are there already",
    ]
    assert not (workplace / "other").exists()


def test_other_weights_under_a_published_name(
    tiny: WeightsEntry, config: BackboneConfig, workplace: Path, fail: Fail
) -> None:
    folder = workplace / "mine"
    folder.mkdir()
    wider = dataclasses.replace(config, text_mlp_width=28)
    state = dict(ContextBLIP.build(wider, adapter_layers=[]).state_dict())
    path = save_salesforce(folder / "tiny.pth", wider, state)
    status, line = fail("weights verify mine/tiny.pth")
    sizes = path.stat().st_size, tiny.files[0].size
    assert status == 2
    assert "mine/tiny.pth has {:,} bytes, but {:,} were published".format(*sizes) in line
    unsized = dataclasses.replace(tiny.files[0], size=None)
    WEIGHTS["tiny"] = dataclasses.replace(tiny, files=(unsized,))
    status, line = fail("weights verify mine/tiny.pth")
    assert f"has {tiny.parameters + 4 * 32 + 4:,} parameters at 16 pixels, but tiny has" in line
    assert line.endswith("download it again or give it another name")


def test_weights_of_ones_own(
    tiny: WeightsEntry, workplace: Path, capsys: pytest.CaptureFixture[str], fail: Fail
) -> None:
    (workplace / "published" / "tiny.pth").rename(workplace / "own.pth")
    main(["weights", "verify", "own.pth"])
    out = capsys.readouterr().out
    assert f"parameters {tiny.parameters:,} (not in the catalogue, nothing to compare with)" in out
    (workplace / "own.pth").write_bytes(b"no weights")
    assert fail("weights verify own.pth")[1].startswith("error: own.pth: ")


@pytest.mark.usefixtures("tiny")
def test_a_changed_file_is_told(workplace: Path, fail: Fail) -> None:
    main(["weights", "download", "tiny", "--mirror", "published"])
    record = workplace / "weights" / ".contextblip" / "sha256.json"
    assert json.loads(record.read_text()).keys() == {"tiny.pth", "bert-base-uncased/vocab.txt"}
    (workplace / "weights" / "bert-base-uncased" / "vocab.txt").write_text("other\n")
    status, line = fail("weights verify tiny")
    assert status == 2
    assert "vocab.txt has sha256" in line
    assert "was recorded when it was first seen" in line


def test_a_login_page_is_no_weights(tiny: WeightsEntry, workplace: Path, fail: Fail) -> None:
    WEIGHTS["tiny"] = dataclasses.replace(tiny, files=(dataclasses.replace(tiny.files[0], size=None),))
    (workplace / "published" / "tiny.pth").write_text("<html>log in</html>")
    status, line = fail("weights download tiny")
    assert status == 2
    assert "is a web page, such as a login or an error, and not the file; it was not kept" in line
    assert not (workplace / "weights" / "tiny.pth").exists()


def test_unproven_files_are_named(
    tiny: WeightsEntry, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["weights", "download", "tiny", "--mirror", "published"])
    WEIGHTS["tiny"] = dataclasses.replace(tiny, files=(dataclasses.replace(tiny.files[0], size=None),))
    HashRecord(workplace / "weights").write("tiny.pth", "0" * 64, proven=False)
    main(["weights", "verify", "tiny"])
    assert "tiny.pth (nothing to compare with: it came without a length)" in capsys.readouterr().out


def test_mistakes(fail: Fail) -> None:
    assert fail("weights download model_bse") == (
        2,
        "error: no weights 'model_bse'; did you mean model_base?",
    )
    assert "there are model_base, model_base_14M" in fail("weights verify xyz")[1]
    assert fail("weights verify model_base")[1] == (
        "error: weights/model_base.pth is not there; get it by: lightning weights download model_base "
        "--root weights"
    )
    assert fail("weights downlod model_base")[1] == (
        "error: weights: argument list|download|verify: invalid choice: 'downlod'; did you mean download?"
    )
    assert fail("weights download model_base --dryrun")[1] == (
        "error: weights: unrecognized arguments: --dryrun; did you mean --dry_run?"
    )
    assert fail("weights")[1] == "error: weights: the following arguments are required: list|download|verify"


def test_offline_lists_what_to_copy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SystemExit):
        main(["weights", "download", "model_base"])
    shown = capsys.readouterr()
    address = "https://storage.googleapis.com/sfr-vision-language-research/BLIP/models/model_base.pth"
    assert f"{address}  (size unknown)\n  -> weights/model_base.pth\n" in shown.out
    assert shown.err.startswith("error: HF_HUB_OFFLINE is set and 2 of 2 files are missing")


@pytest.mark.parametrize(
    "line", ["weights --help", "weights download --help", "weights list", "data --help", "data list"]
)
def test_help_and_list_need_no_torch(line: str) -> None:
    code = (
        "import sys\nfrom contextblip.cli import main\n"
        f"try:\n    main({line.split()})\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "assert not {'torch', 'lightning', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"lightning {line.split()[0]} download " in done.stdout


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "data downlaod",
            "data: argument list|download|verify|stats: invalid choice: 'downlaod'; did you mean download?",
        ),
        (
            "data download imagcode --root x",
            "data download: argument NAME: invalid choice: 'imagcode'; did you mean imagecode?",
        ),
        (
            "data download xyz --root x",
            "data download: argument NAME: invalid choice: 'xyz' (choose from coco, visual_genome, "
            "imagecode, mmvp_vlm)",
        ),
        ("data download coco --root x --parts karpaty", "coco has no part 'karpaty'; did you mean karpathy?"),
    ],
)
def test_mistakes_of_the_data_verb(line: str, words: str, fail: Fail) -> None:
    assert fail(line) == (2, f"error: {words}")
