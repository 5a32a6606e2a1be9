"""What inputs carry and what the suite's plugin looks for; both sides read it here, and one of them has no torch."""

from typing import Final

#: The module of the decoding processes, in place of the product's.
DECODER: Final = "tests.unit.ml.hostile_child"

#: Second numbers of an input: the network raises, or answers NaN.
RAISES: Final = 666
NAN: Final = 667

#: Ends of a file, as deeds of that module: its decoder dies by a segmentation fault, or sleeps.
KILLS: Final = b"SEGV"
NEVER_ENDS: Final = b"DOZE"

#: The variable that names the file that gets a line a forward, with the number of its items.
FORWARDS: Final = "FAULTS_FORWARDS"
