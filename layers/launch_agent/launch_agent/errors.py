"""Every failure this application names. The class name is what the state machine, the console and W&B show.

- `LaunchError`
  - `Transient`: the same call may work later; the state machine retries it.
    - `WandbUnavailable`, `WandbKeyRejected`, `AwsThrottled`, `CapacityUnavailable`, `SageMakerFailed`,
      `ImageBeingBuilt`, `NoSlotFree`, `RunNotSeen`
  - `Permanent`: somebody has to change something first; the state machine reports it.
    - `InvalidRunSpec`, `UnsupportedJobSource`, `JobArtifactNotFound`, `ImageBuildFailed`, `TrainingJobRejected`,
      `CapacityWaitEnded`, `LaunchFailed`, `WandbRefused`, `AwsRefused`, `InvalidLaunchConfig`, `UnreadableEvent`
  - `LeaseLost`: another launch agent has the item; nobody has to do anything.

docs/errors.md says of each what a user sees and can do.
"""

from collections.abc import Sequence

_FAULTS_SAID = 30


class LaunchError(Exception):
    """Something kept a run queue item from becoming a training job, or its outcome from being reported."""


class Transient(LaunchError):
    """The same call may work later."""


class Permanent(LaunchError):
    """The same call would fail again: the run spec, the queue or the deployment has to change first."""


class LeaseLost(LaunchError):
    """W&B refused the acknowledgement, and the item belongs to another launch agent or to nobody."""


class WandbUnavailable(Transient):
    """W&B did not answer, or answered 429 or 5xx."""


class WandbKeyRejected(Transient):
    """W&B does not take the API key: it works again once somebody has stored a valid one."""


class AwsThrottled(Transient):
    """An AWS service asked us to slow down, or did not answer."""


class CapacityUnavailable(Transient):
    """SageMaker has no room for the training job at the moment: the account's quota, or the machines, are used up."""


class SageMakerFailed(Transient):
    """SageMaker itself failed while the training job ran; another job of the same run is submitted."""


class ImageBeingBuilt(Transient):
    """Another run queue item's execution builds the image that this one needs too."""


class NoSlotFree(Transient):
    """A run that is launched again finds as many runs open as may be."""


class RunNotSeen(Transient):
    """The training job ended and W&B has not seen its run yet; it may still appear."""


class InvalidRunSpec(Permanent):
    """The run spec, with what the queue adds to it, does not describe a training job SageMaker would accept."""

    def __init__(self, faults: Sequence[str], *, queue: str | None = None) -> None:
        """Take every fault found, each a sentence of what is wrong, where, and what to do."""
        where = f' from queue "{queue}"' if queue else ""
        said = list(faults[:_FAULTS_SAID])
        if len(faults) > len(said):
            said.append(f"and {len(faults) - len(said):,} more.")
        super().__init__("\n- ".join([f"The run spec{where} cannot be launched:", *said]))
        self.faults = tuple(faults)


class UnsupportedJobSource(Permanent):
    """The job is of a kind that this launch agent does not run."""


class JobArtifactNotFound(Permanent):
    """The job named in the run spec does not exist, cannot be read, or is not a job."""


class ImageBuildFailed(Permanent):
    """AWS CodeBuild ended without an image."""


class TrainingJobRejected(Permanent):
    """SageMaker or IAM refused the training job."""


class CapacityWaitEnded(Permanent):
    """There was no room for the training job for as long as the stack is to wait."""


class LaunchFailed(Permanent):
    """The launch has failed and is reported; the execution ends with this, and can be redriven."""


class WandbRefused(Permanent):
    """W&B answered, and the answer was no: a missing permission, or an operation it does not take."""


class AwsRefused(Permanent):
    """AWS answered, and the answer was no: for most, a permission that a policy of the stack or the account denies."""


class InvalidLaunchConfig(Permanent):
    """launch-config.yaml has faults; the message lists each with its key, value and an example."""


class UnreadableEvent(Permanent):
    """A status event of SageMaker's names no training job."""
