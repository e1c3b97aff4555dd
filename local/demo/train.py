"""Trains a small classifier of handwritten digits and logs to W&B: an example of a user's container."""

import os
from pathlib import Path

import joblib
import wandb
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split


def main() -> None:
    """Fit the model epoch by epoch, with the learning rate and the number of epochs from the run's config."""
    with wandb.init(config={"epochs": 5, "learning_rate": 0.001}) as run:
        images, labels = load_digits(return_X_y=True)
        split = train_test_split(images / 16.0, labels, test_size=0.25, random_state=0)
        train_images, test_images, train_labels, test_labels = split
        rate = run.config.learning_rate
        model = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=rate, random_state=0)
        for epoch in range(run.config.epochs):
            model.partial_fit(train_images, train_labels, classes=range(10))
            run.log(
                {
                    "epoch": epoch,
                    "accuracy": accuracy_score(test_labels, model.predict(test_images)),
                    "loss": log_loss(test_labels, model.predict_proba(test_images)),
                }
            )
        joblib.dump(model, Path(os.environ.get("SM_MODEL_DIR", "/opt/ml/model"), "model.joblib"))


if __name__ == "__main__":
    main()
