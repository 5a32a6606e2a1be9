"""Which models have a fixed held-out set, for those who must know it without loading torch; see ``ml.held_out``."""

HELD_OUT_MODELS = frozenset({"diamond-price", "fashion", "fashion-similar", "garments", "xor"})
