"""What tasks share that train nothing: they refuse before any weights are loaded."""

from typing import NoReturn

from contextblip.errors import ConfigurationError
from contextblip.tasks.base import ContextBLIPTask


class EvaluationOnly(ContextBLIPTask):
    """Mixed into a task, it lets only some of the Trainer's entry points through."""

    # Entry points that the task serves.
    stages: tuple[str, ...] = ("validate", "test", "predict")
    # What is said at the others.
    refusal: str

    def refuse(self) -> NoReturn:
        """Say what the task is for.

        Raises:
            ConfigurationError: Always.
        """
        raise ConfigurationError(self.refusal)

    def setup(self, stage: str) -> None:
        """Let the entry points through that the task serves.

        Args:
            stage: Name of the Trainer's entry point.

        Raises:
            ConfigurationError: It is another one.
        """
        if stage not in self.stages:
            self.refuse()
        super().setup(stage)

    def training_step(self) -> NoReturn:
        """Refuse to train.

        Raises:
            ConfigurationError: Always.
        """
        self.refuse()

    def configure_optimizers(self) -> NoReturn:
        """Refuse to train.

        Raises:
            ConfigurationError: Always.
        """
        self.refuse()
