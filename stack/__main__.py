"""`python -m stack` is `torchqueue`."""

from stack.cli import main

main()
