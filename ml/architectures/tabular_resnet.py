"""A residual network on records: numbers and choices, each with an embedding of its own. Our own, trained from nothing.

Residual blocks after Gorishniy et al. 2021 (arXiv:2106.11959); embeddings of numbers by learned periods after Gorishniy
et al. 2022 (arXiv:2203.05556), which bring networks to the level of trees on tables.

Shapes: B batch, N numbers, K choices, F fields (N + K), W frequencies, E embedding, D width, Q outputs.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ml.errors import InvalidSpecError
from ml.spec import InputSpec
from schemas.records import ChoiceField, Field, NumberField

DEFAULTS = {"width": 128, "blocks": 3, "embedding": 8, "frequencies": 16}

FREQUENCY_STD = 0.3
"""Of the periods' fresh frequencies, in cycles a standard deviation: a value's neighbourhood, not its noise."""


def build_tabular_resnet(options: Mapping[str, Any], input_spec: InputSpec, n_outputs: int) -> nn.Module:
    """Build a ``TabularResNet``; options ``width``, ``blocks``, ``embedding`` and ``frequencies`` are whole numbers.

    Raises:
        InvalidSpecError: An option is no number above 0, or the input is no record.
    """
    sizes = {name: options.get(name, default) for name, default in DEFAULTS.items()}
    for name, size in sizes.items():
        if type(size) is not int or size < 1:
            raise InvalidSpecError(f"arch_options.{name}", "must be a whole number above 0.")
    if input_spec.type != "record":
        raise InvalidSpecError("input.type", "must be 'record' for tabular-resnet.")
    return TabularResNet(input_spec.fields, n_outputs=n_outputs, **sizes)


class TabularResNet(nn.Module):
    """Input ``[B, F]`` float32 in the order of the fields, choices by their place; output ``[B, Q]``.

    Args:
        fields: Numbers are standardised with the mean and the standard deviation that they state.
        width: D, of what the blocks add up on.
        blocks: How many.
        embedding: E, numbers that stand for one field.
        frequencies: W, periods that each number is looked at in.
        n_outputs: Q.
    """

    _mean: Tensor
    _std: Tensor
    _number_at: Tensor
    _choice_at: Tensor
    _first_choice: Tensor

    def __init__(
        self, fields: tuple[Field, ...], *, width: int, blocks: int, embedding: int, frequencies: int, n_outputs: int
    ) -> None:
        super().__init__()
        numbers = [field for field in fields if isinstance(field, NumberField)]
        choices = [field for field in fields if isinstance(field, ChoiceField)]
        self._remember("_mean", torch.tensor([field.mean for field in numbers]))
        self._remember("_std", torch.tensor([field.std for field in numbers]))
        self._remember("_number_at", torch.tensor([fields.index(field) for field in numbers], dtype=torch.long))
        self._remember("_choice_at", torch.tensor([fields.index(field) for field in choices], dtype=torch.long))
        counts = torch.tensor([len(field.choices) for field in choices], dtype=torch.long)
        # All choices of all fields share one table, so that one lookup finds them all.
        self._remember("_first_choice", counts.cumsum(0) - counts)
        self.numbers = NumberEmbedding(len(numbers), frequencies, embedding)
        self.choices = nn.Embedding(max(1, int(counts.sum())), embedding)
        self.stem = nn.Linear(len(numbers) + len(fields) * embedding, width)
        self.blocks = nn.Sequential(*[Block(width) for _ in range(blocks)])
        self.head = nn.Sequential(nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, n_outputs))

    def forward(self, record_bf: Tensor) -> Tensor:
        """See the class."""
        number_bn = (record_bf[:, self._number_at] - self._mean) / self._std
        chosen_bk = record_bf[:, self._choice_at].long() + self._first_choice
        parts = number_bn, self.numbers(number_bn).flatten(1), self.choices(chosen_bk).flatten(1)
        output_bq: Tensor = self.head(self.blocks(self.stem(torch.cat(parts, dim=1))))
        return output_bq

    def _remember(self, name: str, values: Tensor) -> None:
        # Not among the weights: the configuration is the one place that states them.
        self.register_buffer(name, values, persistent=False)


class NumberEmbedding(nn.Module):
    """``[B, N]`` standardised -> ``[B, N, E]``: sines and cosines of learned frequencies, mixed for each number."""

    def __init__(self, n_numbers: int, frequencies: int, embedding: int) -> None:
        super().__init__()
        self.frequencies = nn.Parameter(torch.randn(n_numbers, frequencies) * FREQUENCY_STD)
        self.weight = nn.Parameter(torch.randn(n_numbers, 2 * frequencies, embedding) / math.sqrt(2 * frequencies))
        self.bias = nn.Parameter(torch.zeros(n_numbers, embedding))

    def forward(self, number_bn: Tensor) -> Tensor:
        """See the class."""
        angle_bnw = 2 * math.pi * number_bn.unsqueeze(-1) * self.frequencies
        waves_bnw = torch.cat([angle_bnw.sin(), angle_bnw.cos()], dim=-1)
        embedded_bne: Tensor = torch.einsum("bnw,nwe->bne", waves_bnw, self.weight) + self.bias
        return embedded_bne.relu()


class Block(nn.Module):
    """Two layers beside a straight path; shape stays ``[B, D]``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)
        )

    def forward(self, hidden_bd: Tensor) -> Tensor:
        """See the class."""
        changed: Tensor = hidden_bd + self.body(hidden_bd)
        return changed
