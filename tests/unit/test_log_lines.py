"""Lines of logs as Python, shells, launchers and progress bars write them."""

import pytest

from launch_agent.outcome.log_lines import headline, plain

REASON = "The training job failed: AlgorithmError: , exit code: 1. The code of the job failed."
MODULE = """Traceback (most recent call last):
  File "/opt/ml/code/train.py", line 1, in <module>
    import torchx
ModuleNotFoundError: No module named 'torchx'"""
CHAINED = """Traceback (most recent call last):
  File "train.py", line 3, in load
    return rows["loss"]
           ~~~~^^^^^^^^
KeyError: 'loss'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "train.py", line 9, in <module>
    main()
mine.NoData: the table has no column loss.
wandb: Synced 5 W&B file(s)"""
RANKS = """[rank0]: Traceback (most recent call last):
[rank0]:   File "/opt/ml/code/train.py", line 40, in <module>
[rank0]:     loss.backward()
[rank0]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB
[rank0]:[W1126 ProcessGroupNCCL.cpp:1496] Warning: WARNING: destroy_process_group() was not called"""
ARGUMENTS = """usage: train.py [-h] [--epochs EPOCHS]
train.py: error: unrecognized arguments: --epoch 3"""


@pytest.mark.parametrize(
    ("log", "line"),
    [
        (
            MODULE,
            "ModuleNotFoundError: No module named 'torchx'. Add the package of torchx to the job's requirements, or to "
            "its image. ",
        ),
        (CHAINED, "mine.NoData: the table has no column loss. "),
        (
            RANKS,
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB. The GPU has too little memory: "
            "reduce the batch size, or choose an InstanceType with a larger GPU. ",
        ),
        (ARGUMENTS, "train.py: error: unrecognized arguments: --epoch 3. "),
        ("/bin/sh: 1: python: not found", "python: not found. "),
        ("sh: line 1: python: command not found", "python: not found. "),
        ("bash: accelerate: command not found", "accelerate: not found. "),
        (
            'exec: "python": executable file not found in $PATH: unknown',
            "python: not found. ",
        ),
        (
            "python: can't open file '/opt/ml/code/trian.py': [Errno 2] No such file or directory",
            "python: can't open file '/opt/ml/code/trian.py': [Errno 2] No such file or directory. ",
        ),
        ("/usr/bin/python3.11: No module named trian", "/usr/bin/python3.11: No module named trian. "),
        ("Killed", ""),
        ("Traceback (most recent call last):", ""),
        ("loss 0.3\nvalidation error: 0.2 is fine", ""),
        ("", ""),
    ],
)
def test_the_headline_begins_with_the_line_that_matters(log: str, line: str) -> None:
    assert headline(REASON, [("job/algo-1", []), ("job/algo-2", log.splitlines())]) == line + REASON


def test_a_line_that_is_long_is_cut() -> None:
    log = ["Traceback (most recent call last):", f"ValueError: {'x' * 5_000}"]
    assert len(headline("", [("job/algo-1", log)])) < 320


def test_a_job_without_a_log_has_the_reason_alone() -> None:
    assert headline(REASON, []) == REASON


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("plain, with a\ttab", "plain, with a\ttab"),
        ("\x1b[34m\x1b[1mwandb\x1b[0m: Syncing run", "wandb: Syncing run"),
        ("\x1b[38;5;208mwarn\x1b[m \x1b[2K\x1b[1Aup", "warn up"),
        ("\x1b]0;a title\x07text \x1b]8;;https://wandb.ai\x1b\\link\x1b]8;;\x1b\\", "text link"),
        ("  0%|          | 0/9\r 50%|#####     | 4/9\r100%|##########| 9/9", "100%|##########| 9/9"),
        ("windows\r", "windows"),
        ("one\r\ntwo\r\n", "one\ntwo\n"),
        ("bell\x07 and \x1b", "bell and "),
        ("naïve 中文", "naïve 中文"),
    ],
)
def test_error_log_has_what_a_terminal_shows(written: str, shown: str) -> None:
    assert plain(written) == shown
