"""Integers that clients name."""

#: The largest that every reader of JSON keeps as it is (RFC 8259, section 6); ours writes none beyond 64 bits.
MOST_EXACT = 2**53 - 1
