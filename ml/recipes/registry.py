"""The recipes that ``python -m ml.train`` knows."""

from ml.recipes.diamond_price import train_diamond_price
from ml.recipes.fashion import train_fashion
from ml.recipes.fashion_similar import train_fashion_similar
from ml.recipes.garments import train_garments
from ml.recipes.recipe import Recipe
from ml.recipes.xor import train_xor

RECIPES: dict[str, Recipe] = {
    "diamond-price": train_diamond_price,
    "fashion": train_fashion,
    "fashion-similar": train_fashion_similar,
    "garments": train_garments,
    "xor": train_xor,
}
