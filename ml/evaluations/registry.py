"""The models that ``python -m ml.evaluate`` knows."""

from ml.evaluations.diamond_price import evaluate_diamond_price
from ml.evaluations.evaluation import EvaluateModel
from ml.evaluations.fashion import evaluate_fashion

EVALUATIONS: dict[str, EvaluateModel] = {
    "diamond-price": evaluate_diamond_price,
    "fashion": evaluate_fashion,
}
