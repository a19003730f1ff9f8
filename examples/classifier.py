"""What `classifier.yaml` runs: a logistic regression of scikit-learn on the breast cancer data (569 patients)."""

from __future__ import annotations

import warnings

from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

SCALERS = {"none": "passthrough", "standard": StandardScaler(), "minmax": MinMaxScaler()}


def main(params: dict, seed: int) -> dict[str, float]:
    """Train on half of the patients and judge on the other half; the seed draws the halves.

    Args:
        params: `scaling` (none, standard, minmax), `strength` of the regularization (1/C), `solver` of scikit-learn.
        seed: of the split and of the solver, 0 ≤ seed < 2³².
    """
    inputs, labels = load_breast_cancer(return_X_y=True)
    split = train_test_split(inputs, labels, test_size=0.5, stratify=labels, random_state=seed)
    train_inputs, test_inputs, train_labels, test_labels = split
    regression = LogisticRegression(C=1 / params["strength"], solver=params["solver"], max_iter=300, random_state=seed)
    model = Pipeline([("scaling", SCALERS[params["scaling"]]), ("regression", regression)])
    with warnings.catch_warnings():
        # A solver that does not get to its end in 300 steps is part of what is compared.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(train_inputs, train_labels)
    return {
        "loss": log_loss(test_labels, model.predict_proba(test_inputs)),
        "accuracy": accuracy_score(test_labels, model.predict(test_inputs)),
        "steps": model["regression"].n_iter_[0],
    }
