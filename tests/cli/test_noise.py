"""What is kept from the terminal, and that nothing else is."""

import logging
import warnings

import pytest

from contextblip.cli.noise import quiet


def test_known_noise_is_dropped_and_news_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    with quiet(evaluating=False), caplog.at_level(logging.INFO, logger.name):
        for message in ("GPU available: False, used: False", "[rank: 1] Seed set to 42", "out of disk"):
            logger.info(message)
        warnings.warn("The 'x' does not have many workers", stacklevel=1)
        with pytest.warns(UserWarning, match="loss is not finite"):
            warnings.warn("loss is not finite", stacklevel=1)
        with pytest.raises(UserWarning, match="need to be provided"):  # warnings are errors in tests
            warnings.warn("callbacks used to create the checkpoint need to be provided", stacklevel=1)
    assert caplog.messages == ["out of disk"]
    with quiet(evaluating=True):
        warnings.warn("callbacks used to create the checkpoint need to be provided", stacklevel=1)


def test_a_warning_is_one_line_and_only_here() -> None:
    before = warnings.formatwarning
    with quiet(evaluating=False):
        assert warnings.formatwarning("two\nlines", UserWarning, "file.py", 3) == "warning: two lines\n"
    assert warnings.formatwarning is before
