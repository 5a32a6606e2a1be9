"""``python -m ml.launch``: ``torchrun``, whose processes know whom they must not outlive."""

import os

from torch.distributed import run

from ml.distributed import LAUNCHER_VARIABLE


def main() -> None:
    """Start the processes that the arguments of ``torchrun`` ask for, and wait for them."""
    os.environ[LAUNCHER_VARIABLE] = str(os.getpid())
    run.main()


if __name__ == "__main__":
    main()
