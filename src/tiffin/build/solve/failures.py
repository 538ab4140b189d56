"""How a build fails."""

from tiffin.build.steps import Step
from tiffin.errors import Invalid


class StepFailed(Invalid):
    """A step did not work. `code` is a RUN's exit status, 0 for other steps; str() is BuildKit's message.

    kept    the ID of what the step has left (`failed.FailedSteps`), "" where nothing is kept
    """

    def __init__(self, message: str, step: Step, code: int = 0, kept: str = "") -> None:
        super().__init__(message)
        self.step, self.code, self.kept = step, code, kept
