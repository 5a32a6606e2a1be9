"""The recipes that ``python -m ml.train`` knows."""

from ml.recipes.fashion import train_fashion
from ml.recipes.garments import train_garments
from ml.recipes.recipe import Recipe
from ml.recipes.xor import train_xor

RECIPES: dict[str, Recipe] = {
    "fashion": train_fashion,
    "garments": train_garments,
    "xor": train_xor,
}
