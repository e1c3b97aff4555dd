"""Every error of this application. The state machine, the console and W&B show the class name.

- `LaunchError`
  - `Transient`: the same call may work later; the state machine retries it.
    - `WandbUnavailable`, `WandbKeyRejected`, `AwsThrottled`, `CapacityUnavailable`, `SageMakerFailed`,
      `ImageBeingBuilt`, `NoSlotFree`, `RunNotSeen`
  - `Permanent`: someone has to change something first; the state machine reports it.
    - `InvalidRunSpec`, `UnsupportedJobSource`, `JobArtifactNotFound`, `ImageBuildFailed`, `TrainingJobRejected`,
      `CapacityWaitEnded`, `SweepBlocked`, `LaunchFailed`, `WandbRefused`, `AwsRefused`, `InvalidLaunchConfig`,
      `UnreadableEvent`
  - `LeaseLost`: another launch agent has the item; there is nothing to do.

docs/errors.md explains each of them, and what to do.
"""

from collections.abc import Sequence

_FAULTS_SAID = 30


class LaunchError(Exception):
    """A run queue item could not become a training job, or its outcome could not be reported."""


class Transient(LaunchError):
    """The same call may work later."""


class Permanent(LaunchError):
    """The same call would fail again: the run spec, the queue or the deployment has to change first."""


class LeaseLost(LaunchError):
    """W&B refused the acknowledgement: another launch agent owns the item, or it is back in its queue."""


class WandbUnavailable(Transient):
    """W&B did not answer, or answered 429 or 5xx."""


class WandbKeyRejected(Transient):
    """W&B rejects the API key. It works again when someone stores a valid one."""


class AwsThrottled(Transient):
    """An AWS service throttled a request, or did not answer."""


class CapacityUnavailable(Transient):
    """A quota or a limit of launch-config.yaml is used up, or SageMaker has no capacity for the job at the moment."""


class SageMakerFailed(Transient):
    """SageMaker itself failed while the training job ran. Another training job continues the run."""


class ImageBeingBuilt(Transient):
    """The execution of another run queue item is building the image that this one needs."""


class NoSlotFree(Transient):
    """A run is launched again, and all slots are in use."""


class RunNotSeen(Transient):
    """The training job ended, and its run has not appeared in W&B yet."""


class InvalidRunSpec(Permanent):
    """SageMaker would not accept the training job that the run spec and the queue's configuration describe."""

    def __init__(self, faults: Sequence[str], *, queue: str | None = None) -> None:
        """`faults` has one text for each fault: what is wrong, where, and what to do."""
        where = f' from queue "{queue}"' if queue else ""
        said = list(faults[:_FAULTS_SAID])
        if len(faults) > len(said):
            said.append(f"and {len(faults) - len(said):,} more.")
        super().__init__("\n- ".join([f"The run spec{where} cannot be launched:", *said]))
        self.faults = tuple(faults)


class UnsupportedJobSource(Permanent):
    """This launch agent does not run jobs of this kind."""


class JobArtifactNotFound(Permanent):
    """The job named in the run spec does not exist, cannot be read, or is not a job."""


class ImageBuildFailed(Permanent):
    """AWS CodeBuild ended without an image."""


class TrainingJobRejected(Permanent):
    """SageMaker or IAM refused the training job."""


class CapacityWaitEnded(Permanent):
    """There was no room for the training job for `CapacityWaitHours`: by a quota, a limit, or AWS's capacity."""


class SweepBlocked(Permanent):
    """W&B or AWS refused the steps of a sweep for a day."""


class LaunchFailed(Permanent):
    """The launch failed and was reported. The execution ends with this error and can be redriven."""


class WandbRefused(Permanent):
    """W&B refused a request: a permission is missing, or the server does not know the operation."""


class AwsRefused(Permanent):
    """AWS refused a request. Usually a policy of the stack or the account denies the permission."""


class InvalidLaunchConfig(Permanent):
    """launch-config.yaml is not valid. The message lists each fault with its key, value and an example."""


class UnreadableEvent(Permanent):
    """A SageMaker status event has no training job name."""
