"""The models that ``python -m ml.evaluate`` knows."""

from ml.evaluations.diamond_price import evaluate_diamond_price
from ml.evaluations.evaluation import EvaluateModel
from ml.evaluations.fashion import evaluate_fashion
from ml.evaluations.fashion_similar import evaluate_fashion_similar
from ml.evaluations.garments import evaluate_garments

EVALUATIONS: dict[str, EvaluateModel] = {
    "diamond-price": evaluate_diamond_price,
    "fashion": evaluate_fashion,
    "fashion-similar": evaluate_fashion_similar,
    "garments": evaluate_garments,
}
